"""The MONAI transforms that distort training samples.

Adds to MONAI a seed per sample: draws depend neither on the number of workers nor on the order in which they work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import (
    Compose,
    Rand2DElasticd,
    RandAdjustContrastd,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandShiftIntensityd,
)

from .augmentation import Augmentation


def augmentation_transforms(settings: Augmentation, patch: tuple[int, int]) -> Compose:
    """Distortions of one sample {"image": (C, H, W), "label": (1 or structures, H, W)}.

    Args:
        patch: rows, columns of the sample; the elastic grid has about 3 x 3 control points over it.
    """
    keys = ("image", "label")
    axes = [{"rows": 0, "columns": 1}[name] for name in settings.flips]
    flips = [RandFlipd(keys, prob=settings.flip_probability, spatial_axis=axis) for axis in axes]
    p = settings.intensity_probability
    intensity = [
        RandGaussianNoised("image", prob=p, mean=0.0, std=0.1),
        RandGaussianSmoothd("image", prob=p / 2, sigma_x=(0.5, 1.0), sigma_y=(0.5, 1.0)),
        RandScaleIntensityd("image", prob=p, factors=0.25),
        RandShiftIntensityd("image", prob=p, offsets=0.2),
        RandAdjustContrastd("image", prob=p, gamma=(0.7, 1.5)),
    ]
    spatial = Rand2DElasticd(
        keys,
        spacing=(patch[0] / 2, patch[1] / 2),
        magnitude_range=(settings.elastic_px, settings.elastic_px + 1e-6),
        prob=settings.spatial_probability,
        rotate_range=float(np.deg2rad(settings.rotation_deg)),
        scale_range=(settings.scaling_fraction, settings.scaling_fraction),
        mode=("bilinear", "nearest"),
        padding_mode="reflection",
    )
    return Compose([*([spatial] if settings.spatial_probability > 0 else []), *flips, *(intensity if p > 0 else [])])


def augment(transforms: Compose, image: np.ndarray, label: np.ndarray, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One draw for one sample.

    Args:
        image: (C, H, W) float32.
        label: (1 or structures, H, W) uint8.
        seed: of this sample: equal seeds give equal draws, in whichever process.
    """
    # One stream for all of them. Seeded by Compose, the parts of Rand2DElasticd would share a seed, and the draw that decides
    # whether a sample is turned would decide which way: with probability 0.7 and 15 degrees, only -15 to 6 would be seen.
    stream = np.random.RandomState(seed)
    for transform in transforms.transforms:
        transform.set_random_state(state=stream)
    with without_metadata():  # affines mean nothing to a cropped sample, and a flip is ten times faster without them
        drawn = transforms({"image": torch.from_numpy(image), "label": torch.from_numpy(label.astype(np.float32))})
    return torch.as_tensor(drawn["image"]).float(), torch.as_tensor(drawn["label"]).round().to(torch.uint8)


@contextmanager
def without_metadata() -> Iterator[None]:
    """MONAI's transforms on plain tensors, and MONAI's own setting again afterwards."""
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)
