"""Which distortions a training draws, how often and how strongly; `transforms.py` draws them. Knows nothing of MONAI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

# Each distortion, in the order in which they are drawn, with the setting that is its probability. First where things lie, then
# what a scanner does to the signal (field, blur, resolution, noise), then how its numbers are scaled.
DISTORTIONS: Mapping[str, str] = {
    "deformation": "spatial_probability",
    "flips": "flip_probability",
    "bias field": "bias_field_probability",
    "blur": "blur_probability",
    "low resolution": "low_resolution_probability",
    "noise": "noise_probability",
    "brightness": "brightness_probability",
    "contrast": "contrast_probability",
    "gamma": "gamma_probability",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How samples are varied. Probabilities are per sample; 0 switches a distortion off.

    Intensities are those behind the normalisation: 1 is one standard deviation of the scan (`zscore`), or half of the window.
    Source: Ronneberger et al. 2015 (deformation); nnU-Net (Isensee et al. 2021; nnUNetTrainer.get_training_transforms, commit
    017de4ad) for how often and how far intensities are changed, its 0.2 and 0.25 halved where it draws again for each channel.
    Own: noise of up to 0.2 instead of 0.32, brightness that is added, the bias field.
    """

    spatial_probability: float = 0.7  # one draw of rotation, scaling and elastic deformation together
    rotation_deg: float = 15.0
    scaling_fraction: float = 0.15
    elastic_px: float = 10.0  # standard deviation of the displacements on a coarse 3 x 3 grid, bicubic between (the paper's)
    flip_probability: float = 0.5  # for each axis of `flips`
    flips: tuple[str, ...] = ()  # "columns" (left-right in an axial slice), "rows"; none where sides have names
    flip_pairs: tuple[tuple[str, str], ...] = ()  # structures that change names in a mirror: (kidney_left, kidney_right)
    bias_field_probability: float = 0.0  # MR only
    bias_field_fraction: float = 0.3  # the signal is multiplied by at most 1 + this, and at least 1 / (1 + this)
    blur_probability: float = 0.1
    blur_px: tuple[float, float] = (0.5, 1.0)  # standard deviation, from and to
    low_resolution_probability: float = 0.125
    low_resolution_zoom: float = 0.5  # the coarsest: pixels twice as large
    noise_probability: float = 0.1
    noise_deviation: float = 0.2  # the largest standard deviation
    brightness_probability: float = 0.15
    brightness_shift: float = 0.2  # the largest, to either side
    contrast_probability: float = 0.15
    contrast_fraction: float = 0.25  # differences from the mean become at most this much larger or smaller
    gamma_probability: float = 0.3
    gamma: tuple[float, float] = (0.7, 1.5)  # from and to

    @property
    def drawn(self) -> tuple[str, ...]:
        """The names of the distortions that can occur."""
        return tuple(name for name, setting in DISTORTIONS.items() if getattr(self, setting) > 0 and self._has(name))

    def only(self, *names: str) -> Augmentation:
        """The same ranges, but these distortions in every sample and no others."""
        changes: dict[str, float] = {setting: float(name in names) for name, setting in DISTORTIONS.items()}
        return replace(self, **changes)  # type: ignore[arg-type]

    def _has(self, name: str) -> bool:
        return name != "flips" or bool(self.flips)

    def problems(self) -> list[str]:
        """What is wrong with these settings, in words; empty when nothing is."""
        limits: list[tuple[str, float, float]] = [(name, 0, 1) for name in DISTORTIONS.values()]
        limits += [
            ("rotation_deg", 0, 180),
            ("scaling_fraction", 0, 0.9),
            ("elastic_px", 0, 100),
            ("bias_field_fraction", 0, 2),
            ("low_resolution_zoom", 0.1, 1),
            ("noise_deviation", 0, 5),
            ("brightness_shift", 0, 5),
            ("contrast_fraction", 0, 0.9),
        ]
        found = [
            f"augmentation.{name} must be {least:g} to {most:g}, is {getattr(self, name):g}"
            for name, least, most in limits
            if not least <= getattr(self, name) <= most  # NaN lies nowhere
        ]
        for name, least, most in (("blur_px", 0, 20), ("gamma", 0.1, 10)):
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                found.append(f"augmentation.{name} must rise within {least:g} to {most:g}, is {low:g} to {high:g}")
        found += [
            f"augmentation.flips may hold rows and columns, not {axis!r}"
            for axis in self.flips
            if axis not in ("rows", "columns")
        ]
        if len(set(self.flips)) < len(self.flips):
            found.append(f"augmentation.flips names an axis twice: {', '.join(self.flips)}")
        return found


def in_todays_words(data: Mapping[str, object]) -> dict[str, object]:
    """Settings as they were written earlier, with one probability for all changes of intensity, as they are written now.

    `intensity_probability` stays a short way to set them all, and wins over what stands beside it; 0 leaves intensities alone.
    """
    settings = dict(data)
    if "intensity_probability" in settings:
        every = settings.pop("intensity_probability")
        settings |= {f"{name}_probability": every for name in ("noise", "brightness", "contrast", "gamma")}
        settings["blur_probability"] = every / 2 if isinstance(every, int | float) else every
        settings |= {"low_resolution_probability": 0.0, "bias_field_probability": 0.0}
    return settings
