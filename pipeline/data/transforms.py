"""The MONAI transforms that distort training samples.

Adds to MONAI a seed per sample, so that draws depend neither on the number of workers nor on the order in which they work,
an elastic deformation that leaves the image alone where its displacements are 0, mirror images in which left and right change
names, and a bias field that knows where there is no signal. Label maps are moved by the nearest pixel, never changed otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import (
    Compose,
    MapTransform,
    RandAdjustContrastd,
    RandGaussianNoised,
    Randomizable,
    RandomizableTransform,
    RandScaleIntensityFixedMeand,
    RandShiftIntensityd,
    RandSimulateLowResolutiond,
)
from scipy.ndimage import gaussian_filter

from .augmentation import Augmentation

Swaps = Mapping[str, Sequence[tuple[int, int]]]  # flipped axis → places in the label table that change names


def augmentation_transforms(
    settings: Augmentation, *, swaps: Swaps | None = None, limits: tuple[float, float] | None = None
) -> Compose:
    """Distortions of one sample {"image": (C, H, W), "label": (1 or structures, H, W)}, in the order of `DISTORTIONS`.

    All channels are changed alike (the noise excepted): with neighbouring slices as channels, they are one scan.

    Args:
        swaps: see `augmentation_fit.swaps_of`; None: no structure changes its name.
        limits: between which values the normalisation puts every voxel: no distortion leads out of them.
    """
    s, chosen = settings, settings.drawn
    drawn: list[RandomizableTransform] = [RandElasticAffined(s)] if "deformation" in chosen else []
    if "flips" in chosen:
        drawn += [RandMirrord(axis, s.flip_probability, (swaps or {}).get(axis, ())) for axis in s.flips]
    changes: dict[str, Callable[[], RandomizableTransform]] = {
        "bias field": lambda: RandScannerBiasd(s.bias_field_probability, s.bias_field_fraction),
        "blur": lambda: RandBlurd(s.blur_probability, s.blur_px),
        "low resolution": lambda: RandSimulateLowResolutiond(
            "image",
            prob=s.low_resolution_probability,
            zoom_range=(s.low_resolution_zoom, 1.0),
            downsample_mode="area",  # a larger pixel is the mean of what it covers
            upsample_mode="bilinear",
        ),
        "noise": lambda: RandGaussianNoised("image", prob=s.noise_probability, mean=0.0, std=s.noise_deviation),
        "brightness": lambda: RandShiftIntensityd("image", prob=s.brightness_probability, offsets=s.brightness_shift),
        "contrast": lambda: RandScaleIntensityFixedMeand(
            "image", prob=s.contrast_probability, factors=s.contrast_fraction, preserve_range=True
        ),
        "gamma": lambda: RandAdjustContrastd("image", prob=s.gamma_probability, gamma=s.gamma, retain_stats=True),
    }
    drawn += [make() for name, make in changes.items() if name in chosen]
    return Compose([*drawn, *([Limitd(limits)] if limits else [])])


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

    def __call__(self, data: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.randomize(None)
        if not self._do_transform:
            return dict(data)
        grid = self._drawn_grid(data["image"].shape[-2:])
        modes = {"image": "bilinear", "label": "nearest"}
        return {key: sampled(data[key], grid, modes[key]) for key in self.keys}

    def _drawn_grid(self, size: torch.Size) -> torch.Tensor:
        """(H, W, 2): from which column and row each pixel comes, -1 to 1 from edge to edge."""
        s = self.settings
        turn = np.deg2rad(self.R.uniform(-s.rotation_deg, s.rotation_deg))
        scales = 1 + self.R.uniform(-s.scaling_fraction, s.scaling_fraction, 2)
        displacements_px = torch.from_numpy(self.R.normal(0, s.elastic_px, (2, 3, 3)).astype(np.float32))
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * scales
        # Every part is a product of something along the rows and something along the columns, so that one small matrix between
        # two bases gives the whole grid: by pixel, the interpolation and its large arrays would cost as much as the sampling.
        between = torch.zeros(2, 5, 5)
        between[:, :3, :3] = displacements_px
        between[:, 3, 4] = torch.from_numpy(matrix[:, 0].astype(np.float32))  # times the row
        between[:, 4, 3] = torch.from_numpy(matrix[:, 1].astype(np.float32))  # times the column
        between *= 2 / torch.tensor(size)[:, None, None]
        down, across = (_basis(side) for side in size)
        return (down @ between.flip(0) @ across.T).permute(1, 2, 0)


@lru_cache(maxsize=64)
def _basis(side: int) -> torch.Tensor:
    """(side, 5): bicubic weights of 3 points spread from edge to edge, the place counted from the centre, and 1."""
    points = torch.eye(3)[None, None]
    cubic = torch.nn.functional.interpolate(points, size=(side, 3), mode="bicubic", align_corners=True)[0, 0]
    place = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
    return torch.cat([cubic, place[:, None], torch.ones(side, 1)], dim=1)


def sampled(array: torch.Tensor, grid: torch.Tensor, mode: str) -> torch.Tensor:
    """(C, H, W) at the places of the grid, mirrored at the border; `mode` is bilinear or nearest."""
    return torch.nn.functional.grid_sample(array[None], grid[None], mode=mode, padding_mode="reflection", align_corners=False)[
        0
    ]


class RandMirrord(RandomizableTransform, MapTransform):  # type: ignore[misc]
    """A mirror image along "rows" or "columns", in which left and right structures change names.

    Args:
        axis: along which the image is flipped.
        pairs: places in the label table of two structures each that change names; see `augmentation_fit.swaps_of`.
    """

    def __init__(self, axis: str, probability: float, pairs: Sequence[tuple[int, int]]) -> None:
        MapTransform.__init__(self, ("image", "label"))
        RandomizableTransform.__init__(self, probability)
        self.dimension = {"rows": -2, "columns": -1}[axis]
        self.pairs = pairs

    def __call__(self, data: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.randomize(None)
        if not self._do_transform:
            return dict(data)
        flipped = {key: torch.flip(data[key], (self.dimension,)) for key in self.keys}
        return {**flipped, "label": self._renamed(flipped["label"])} if self.pairs else flipped

    def _renamed(self, label: torch.Tensor) -> torch.Tensor:
        """(1, H, W) of class indices, or (structures, H, W) of 0 and 1."""
        renamed = label.clone()
        for one, other in self.pairs:
            if len(label) > 1:
                renamed[one], renamed[other] = label[other], label[one]
            else:
                renamed[label == one + 1], renamed[label == other + 1] = other + 1, one + 1
        return renamed


class RandBlurd(RandomizableTransform, MapTransform):  # type: ignore[misc]
    """Gaussian blur of the image, mirrored at its border. As MONAI's RandGaussianSmoothd, in a fifth of the time.

    Args:
        sigma_px: from and to; drawn evenly between.
    """

    def __init__(self, probability: float, sigma_px: tuple[float, float]) -> None:
        MapTransform.__init__(self, "image")
        RandomizableTransform.__init__(self, probability)
        self.sigma_px = sigma_px

    def __call__(self, data: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.randomize(None)
        if not self._do_transform:
            return dict(data)
        sigma = self.R.uniform(*self.sigma_px)
        blurred = gaussian_filter(data["image"].numpy(), (0, sigma, sigma), mode="mirror")
        return {**data, "image": torch.from_numpy(blurred)}


class RandScannerBiasd(RandomizableTransform, MapTransform):  # type: ignore[misc]
    """A smooth factor over the image, as coils of an MR scanner leave it.

    Not MONAI's RandBiasField: that multiplies what it is given, but normalised values are negative where there is no signal,
    and those would become darker where the coil is near. Here the darkest value of the patch counts as no signal.

    Args:
        fraction: the factor lies between 1 / (1 + fraction) and 1 + fraction. Simulated and real fields have 0.1 to 0.4.
    Source: Van Leemput et al., IEEE TMI 18 (1999) 885 (polynomials, as logarithm), here Legendre's up to degree 3.
    """

    DEGREE = 3

    def __init__(self, probability: float, fraction: float) -> None:
        MapTransform.__init__(self, "image")
        RandomizableTransform.__init__(self, probability)
        self.fraction = fraction

    def __call__(self, data: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.randomize(None)
        if not self._do_transform:
            return dict(data)
        image = data["image"]
        darkest = image.amin(dim=(-2, -1), keepdim=True)
        signal = (image - darkest).mul_(self._factor(image.shape[-2], image.shape[-1]))
        return {**data, "image": signal.add_(darkest)}

    def _factor(self, rows: int, columns: int) -> torch.Tensor:
        """(rows, columns)."""
        coefficients = self.R.uniform(-1, 1, (self.DEGREE + 1, self.DEGREE + 1)).astype(np.float32)
        order = np.add.outer(range(self.DEGREE + 1), range(self.DEGREE + 1))
        coefficients[(order == 0) | (order > self.DEGREE)] = 0  # a constant factor is no field
        down, across = (
            torch.from_numpy(np.polynomial.legendre.legvander(np.linspace(-1, 1, side), self.DEGREE).astype(np.float32))
            for side in (rows, columns)
        )
        field = down @ torch.from_numpy(coefficients) @ across.T  # by torch, which keeps to the threads that a worker may use
        largest = self.R.uniform(0, np.log1p(self.fraction))
        return field.mul_(largest / float(field.abs().max())).exp_()


class Limitd(MapTransform):  # type: ignore[misc]
    """Clips the image, as the normalisation would clip a scan with such intensities."""

    def __init__(self, limits: tuple[float, float]) -> None:
        MapTransform.__init__(self, "image")
        self.limits = limits

    def __call__(self, data: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {**data, "image": torch.clip(data["image"], *self.limits)}


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
        if isinstance(transform, Randomizable):
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
