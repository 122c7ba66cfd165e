"""A made-up abdomen: Hounsfield units and labels at any place in mm. Knows nothing of pixels, files or DICOM.

Built so that thresholds do not solve it: the lesion is as dark as what surrounds the organ, kidneys hold dark spots of the same
value, and the lesion takes about one part in a hundred of the organ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ORGAN, LESION = 1, 2
WARP_STEPS_PER_MM = 1024  # rounded to these, so that the last bit of a processor's sine does not show in any voxel
RUN = 64  # points that are judged together: most solids are far from most of them
AIR_HU, FAT_HU, TISSUE_HU, BONE_HU = -1000.0, -100.0, 30.0, 450.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ellipsoid:
    """A solid with smooth edges, moved with the patient's warp."""

    centre_mm: np.ndarray  # (3,) left, back, head
    radii_mm: np.ndarray  # (3,)
    hu: float
    label: int = 0

    def inside(self, points_mm: np.ndarray) -> np.ndarray:
        """Bool, one a point. points_mm: (3, ...)."""
        x, y, z = ((points_mm[axis] - self.centre_mm[axis]) / self.radii_mm[axis] for axis in range(3))
        inside: np.ndarray = x * x + y * y + z * z <= 1
        return inside


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phantom:
    """One made-up patient around the origin, in DICOM's patient coordinates (left, back, head)."""

    solids: tuple[Ellipsoid, ...]  # later ones lie over earlier ones
    wave_mm: np.ndarray  # (waves, 3) amplitude of each wave of the warp
    wave_per_mm: np.ndarray  # (waves, 3) its direction and frequency
    phase: np.ndarray  # (waves,)

    def at(self, rows_mm: np.ndarray, columns_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Hounsfield units (float32) and labels (uint8) at all sums of a row's and a column's place.

        Args:
            rows_mm: (3, rows).
            columns_mm: (3, columns).
        Returns: two arrays (rows * columns,).
        """
        # sin(a + b) = sin a cos b + cos a sin b: a sine for each row and column instead of one for each point
        a, b = (self.wave_per_mm @ rows_mm + self.phase[:, None])[:, :, None], (self.wave_per_mm @ columns_mm)[:, None]
        waves = np.sin(a) * np.cos(b) + np.cos(a) * np.sin(b)  # (waves, rows, columns)
        exact = (rows_mm[:, :, None] + columns_mm[:, None]).reshape(3, -1) + self.wave_mm.T @ waves.reshape(len(waves), -1)
        warped = (np.rint(exact * WARP_STEPS_PER_MM) / WARP_STEPS_PER_MM).astype(np.float32)
        count = warped.shape[1]
        runs = np.pad(warped, ((0, 0), (0, -count % RUN)), mode="edge").reshape(3, -1, RUN)
        lowest, highest = runs.min(axis=2), runs.max(axis=2)  # (3, runs)
        hu = np.full(runs.shape[1:], AIR_HU, dtype=np.float32)
        labels = np.zeros(runs.shape[1:], dtype=np.uint8)
        for solid in self.solids:
            low, high = (solid.centre_mm - solid.radii_mm)[:, None], (solid.centre_mm + solid.radii_mm)[:, None]
            near = np.flatnonzero(((lowest <= high) & (highest >= low)).all(axis=0))
            inside = solid.inside(runs[:, near])
            hu[near] = np.where(inside, np.float32(solid.hu), hu[near])
            labels[near] = np.where(inside, np.uint8(solid.label), labels[near])
        return hu.ravel()[:count], labels.ravel()[:count]


def make_phantom(random: np.random.Generator, *, width_mm: float, height_mm: float) -> Phantom:
    """Draw a patient.

    Args:
        random: decides everything.
        width_mm: field of view in the slice: the body fills about five sixths of it.
        height_mm: extent of the scan from foot to head: the organ fills about two thirds of it.
    """
    wide = width_mm * random.uniform(0.40, 0.45)
    deep = wide * random.uniform(0.72, 0.82)
    long = height_mm * 4  # body and spine run through the scan
    unit = wide / 60
    solids = [
        _solid((0, 0, 0), (wide, deep, long), FAT_HU),
        _solid((0, 0, 0), (wide - 7 * unit, deep - 6 * unit, long), TISSUE_HU),
    ]
    spine = np.array([0.0, deep * 0.62, 0.0])
    canal = np.array([0.0, deep * 0.62 + 9 * unit, 0.0])
    solids += [
        _solid(spine, (9 * unit, 8 * unit, long), BONE_HU),
        _solid(canal, (3.5 * unit, 3 * unit, long), 40),
    ]
    for angle in np.linspace(0.15, 0.85, 8) * 2 * np.pi + np.pi / 2:
        rib = (np.cos(angle) * (wide - 8 * unit), np.sin(angle) * (deep - 7 * unit), random.uniform(-0.4, 0.4) * height_mm)
        solids.append(_solid(rib, (2.5 * unit, 2.5 * unit, height_mm * 0.35), 500))
    for side in (-1, 1):
        kidney = np.array([side * 0.42 * wide, 0.42 * deep, random.uniform(-0.30, -0.15) * height_mm])
        solids.append(_solid(kidney, (8 * unit, 10 * unit, height_mm * 0.2), TISSUE_HU + random.uniform(45, 60)))
        for _ in range(2):
            spot = kidney + random.uniform(-0.35, 0.35, 3) * (8 * unit, 10 * unit, height_mm * 0.2)
            solids.append(_solid(spot, random.uniform(3.0, 4.0, 3) * unit, TISSUE_HU - random.uniform(0, 15)))
    for _ in range(3):
        bowel = (random.uniform(0.25, 0.6) * wide, random.uniform(-0.45, 0.05) * deep, random.uniform(-0.4, 0.4) * height_mm)
        solids.append(_solid(bowel, random.uniform(4, 8, 3) * unit, -random.uniform(200, 700)))
    solids += _organ_with_lesions(random, wide, deep, height_mm)
    waves = 4
    direction = random.normal(size=(waves, 3))
    direction *= (2 * np.pi / (random.uniform(45, 90, waves) * unit) / np.linalg.norm(direction, axis=1))[:, None]
    amplitude = random.uniform(-2.2, 2.2, (waves, 3)) * unit
    phase = random.uniform(0, 2 * np.pi, waves)
    return Phantom(solids=tuple(solids), wave_mm=amplitude, wave_per_mm=direction, phase=phase)


def _organ_with_lesions(random: np.random.Generator, wide: float, deep: float, height_mm: float) -> list[Ellipsoid]:
    """Two overlapping lobes, then one or two lesions well inside the larger."""
    unit = wide / 60
    organ_hu = TISSUE_HU + random.uniform(60, 70)
    centre = np.array([-0.40 * wide, -0.18 * deep, random.uniform(-0.04, 0.12) * height_mm])
    radii = np.array([0.42 * wide, 0.52 * deep, height_mm * random.uniform(0.28, 0.34)]) * random.uniform(0.92, 1.05, 3)
    lobe = centre + np.array([0.33 * wide, -0.14 * deep, 0.06 * height_mm])
    solids = [_solid(centre, radii, organ_hu, ORGAN), _solid(lobe, radii * (0.8, 0.55, 0.6), organ_hu, ORGAN)]
    contrast = random.uniform(60, 80)
    share = random.uniform(0.012, 0.017)  # of the larger lobe, for each lesion
    starts = random.normal(size=3)
    for number in range(1 + int(random.random() < 0.4)):
        direction = starts / np.linalg.norm(starts) * (-1) ** number  # the second on the other side
        place = centre + direction * radii * random.uniform(0.35, 0.55)
        size = (share * np.prod(radii)) ** (1 / 3) * random.uniform(0.9, 1.1, 3)
        solids.append(_solid(place, np.maximum(size, 4 * unit), organ_hu - contrast, LESION))
    return solids


def _solid(centre: object, radii: object, hu: float, label: int = 0) -> Ellipsoid:
    return Ellipsoid(
        centre_mm=np.asarray(centre, np.float32), radii_mm=np.asarray(radii, np.float32), hu=float(hu), label=label
    )
