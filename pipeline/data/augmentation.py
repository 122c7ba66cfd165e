"""Which distortions a training draws; `transforms.py` draws them. Knows nothing of MONAI."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How samples are varied. Probabilities are per sample; 0 switches a distortion off."""

    spatial_probability: float = 0.7  # one draw of rotation, scaling and elastic deformation together
    rotation_deg: float = 15.0
    scaling_fraction: float = 0.15
    elastic_px: float = 10.0  # standard deviation of the displacements on a coarse 3 x 3 grid, bicubic between (the paper's)
    flip_probability: float = 0.5  # for each axis of `flips`
    flips: tuple[str, ...] = ()  # "columns" (left-right in an axial slice), "rows"; none where sides have names
    intensity_probability: float = 0.3  # each of: contrast (gamma), brightness and contrast, noise, blur

    def problems(self) -> list[str]:
        """What is wrong with these settings, in words; empty when nothing is."""
        found = []
        for name in ("spatial_probability", "flip_probability", "intensity_probability"):
            if not 0 <= getattr(self, name) <= 1:
                found.append(f"augmentation.{name} must be 0 to 1, is {getattr(self, name)}")
        if not 0 <= self.rotation_deg <= 180:
            found.append(f"augmentation.rotation_deg must be 0 to 180, is {self.rotation_deg:g}")
        if not 0 <= self.scaling_fraction < 0.9:
            found.append(f"augmentation.scaling_fraction must be 0 to 0.9, is {self.scaling_fraction:g}")
        if not 0 <= self.elastic_px <= 100:
            found.append(f"augmentation.elastic_px must be 0 to 100, is {self.elastic_px:g}")
        found += [
            f"augmentation.flips may hold rows and columns, not {axis!r}"
            for axis in self.flips
            if axis not in ("rows", "columns")
        ]
        return found
