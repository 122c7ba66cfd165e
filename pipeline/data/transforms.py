"""The MONAI transforms that distort training samples.

Adds to MONAI a seed per sample, so that draws depend neither on the number of workers nor on the order in which they work,
and an elastic deformation that leaves the image alone where its displacements are 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import (
    Compose,
    MapTransform,
    RandAdjustContrastd,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandomizableTransform,
    RandScaleIntensityd,
    RandShiftIntensityd,
    Resample,
)
from monai.transforms.utils import create_grid

from .augmentation import Augmentation


def augmentation_transforms(settings: Augmentation) -> Compose:
    """Distortions of one sample {"image": (C, H, W), "label": (1 or structures, H, W)}."""
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
    spatial = [RandElasticAffined(settings)] if settings.spatial_probability > 0 else []
    return Compose([*spatial, *flips, *(intensity if p > 0 else [])])


class RandElasticAffined(RandomizableTransform, MapTransform):  # type: ignore[misc]
    """Rotation, scaling and elastic deformation in one interpolation: linear for the image, nearest for the label.

    Not MONAI's Rand2DElastic: that interpolates coordinates from its coarse grid, and since bicubic interpolation does not
    reproduce a straight line, it moves pixels by up to 2.4 % of the patch at magnitude 0, in every sample the same way.
    Source: arXiv:1505.04597, section 3.1 (Gaussian displacements on a coarse 3 x 3 grid, bicubic between).
    """

    def __init__(self, settings: Augmentation) -> None:
        MapTransform.__init__(self, ("image", "label"))
        RandomizableTransform.__init__(self, settings.spatial_probability)
        self.settings = settings
        self.resample = Resample(padding_mode="reflection")

    def __call__(self, data: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.randomize(None)
        if not self._do_transform:
            return dict(data)
        grid = self._drawn_grid(data["image"].shape[-2:])
        modes = {"image": "bilinear", "label": "nearest"}
        return {key: self.resample(data[key], grid, mode=modes[key]) for key in self.keys}

    def _drawn_grid(self, size: torch.Size) -> torch.Tensor:
        """(2, H, W): from which row and column, counted from the centre, each pixel comes."""
        s = self.settings
        turn = np.deg2rad(self.R.uniform(-s.rotation_deg, s.rotation_deg))
        scales = 1 + self.R.uniform(-s.scaling_fraction, s.scaling_fraction, 2)
        displacements_px = torch.from_numpy(self.R.normal(0, s.elastic_px, (1, 2, 3, 3)))
        matrix = torch.from_numpy(np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * scales)
        between = torch.nn.functional.interpolate(displacements_px, size=size, mode="bicubic", align_corners=True)[0]
        centred = create_grid(size, homogeneous=False, backend="torch").to(matrix)  # (2, H, W)
        return torch.einsum("ij,jhw->ihw", matrix, centred) + between


def augment(transforms: Compose, image: np.ndarray, label: np.ndarray, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One draw for one sample.

    Args:
        image: (C, H, W) float32.
        label: (1 or structures, H, W) uint8.
        seed: of this sample: equal seeds give equal draws, in whichever process.
    """
    # One stream for all of them. A seed for each would make their first draws alike: whoever is flipped would be the noisy one.
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
