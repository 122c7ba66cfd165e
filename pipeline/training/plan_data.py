"""The part of a plan that follows from the data alone: slices, intensities, distortions. Knows no network and no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ..data.augmentation import Augmentation
from ..data.augmentation_fit import side_of
from ..data.fingerprint import PLANES, Fingerprint
from ..data.manifest import Case
from ..data.normalise import Normalisation
from ..data.slice_grid import Plane, Preprocessing
from ..labels import LabelTable

# Slices on each side as further channels, by the slice distance in pixels up to which they are taken: nearer slices show nearly
# the same anatomy, farther ones another.
NEIGHBOURS = ((1.5, 4), (3.0, 2), (6.0, 1))
SHORTER = 0.95  # than along the body: for slices across another side of the structures, where scans are cubes
MOST_CHANNELS = 64  # that the network takes
BIAS_PROBABILITY = 0.15  # as brightness and contrast, which it resembles
ELASTIC_FRACTION = 20 / 512  # twice the paper's 10 px on its 512 px images
# Stronger than usual: as good after 3000 steps (hippocampus), and a long training learns the cases less by heart.
ROTATION_DEG, SCALING_FRACTION, SPATIAL_PROBABILITY = 30.0, 0.25, 0.9
LEAST_DEVIATION_HU = 1.0  # of values that say something; a scanner's noise is more
SOFT_TISSUE_HU = (-160.0, 240.0)  # the usual window, where no structure says what must be seen
PICTURES = ("picture", "CR", "DX", "US", "XA")


def plan_preprocessing(seen: Fingerprint, said: Mapping[str, object], reasons: dict[str, str]) -> Preprocessing:
    """Plane, pixel size, neighbours and normalisation.

    Args:
        said: settings that the user has chosen, by dotted name; the others follow from them.
        reasons: filled with why, by dotted name.
    """
    plane = _plane(seen, said.get("preprocessing.plane"), reasons)
    spacing_mm = _spacing_mm(seen, plane, said.get("preprocessing.spacing_mm"), reasons)
    neighbours = _neighbours(seen, Preprocessing(plane=plane, spacing_mm=spacing_mm), reasons)
    normalisation = _normalisation(seen, reasons)
    return Preprocessing(plane=plane, spacing_mm=spacing_mm, neighbours=neighbours, normalisation=normalisation)


def _plane(seen: Fingerprint, said: object, reasons: dict[str, str]) -> Plane:
    if said in (*PLANES, "stored"):
        return said
    if seen.pictures:
        reasons["preprocessing.plane"] = "pictures have no orientation in a patient"
        return "stored"
    plane, votes = Counter(case.plane for case in seen.read).most_common(1)[0]
    if plane is None:
        return _across_the_shortest(seen, reasons)
    reasons["preprocessing.plane"] = f"the plane in which {votes} of {len(seen.read)} cases read were acquired"
    return plane


def _across_the_shortest(seen: Fingerprint, reasons: dict[str, str]) -> Plane:
    """For cubes: slices across the structures' shortest side, if it is clearly shorter than along the body; else axial."""
    extents_mm = [case.extent_mm for case in seen.read if case.extent_mm]
    if extents_mm:
        sides_mm = np.mean(extents_mm, axis=0)  # along R, A, S
        shortest = int(np.argmin(sides_mm))
        if sides_mm[shortest] <= SHORTER * sides_mm[2]:
            side = f"the structures' shortest side ({sides_mm[shortest]:.3g} mm)"
            reasons["preprocessing.plane"] = f"voxels are cubes: across {side}, most of their outline lies in the slice"
            return ("sagittal", "coronal", "axial")[shortest]
    reasons["preprocessing.plane"] = "voxels are cubes: the usual plane"
    return "axial"


def _spacing_mm(seen: Fingerprint, plane: Plane, said: object, reasons: dict[str, str]) -> float:
    if isinstance(said, int | float) and said >= 0:
        return float(said)
    if not seen.spacing_known:
        reasons["preprocessing.spacing_mm"] = "0: as stored, since the pixel size is not always known"
        return 0.0
    reasons["preprocessing.spacing_mm"] = "median pixel size of the cases read"
    sides_mm = [np.sqrt(np.prod(case.grid(Preprocessing(plane=plane)).pixel_mm)) for case in seen.read]
    return float(f"{np.median(sides_mm):.4g}")  # digits, not decimals: a microscope's pixel is a millionth of a millimetre


def _neighbours(seen: Fingerprint, slicing: Preprocessing, reasons: dict[str, str]) -> int:
    """Slices on each side, by how many pixels apart slices are."""
    where = "preprocessing.neighbours"
    grids = [case.grid(slicing) for case in seen.read]
    slices = int(np.median([grid.slices for grid in grids]))
    if seen.pictures or not seen.spacing_known or slices < 3:
        reasons[where] = "single pictures" if seen.pictures else "slice distance unknown, or hardly any slices"
        return 0
    pixel_mm = slicing.spacing_mm or float(np.median([np.sqrt(np.prod(grid.pixel_mm)) for grid in grids]))
    ratio = float(np.median([case.spacing_mm[g.order[2]] for case, g in zip(seen.read, grids, strict=True)])) / pixel_mm
    wanted = next((number for most, number in NEIGHBOURS if ratio <= most), 0)
    number = min(wanted, (slices - 1) // 2, (MOST_CHANNELS // seen.channels - 1) // 2)
    apart = f"slices are {ratio:.1f} pixels apart"
    reasons[where] = f"2.5-D: {apart}" if number else f"{apart}: a neighbour shows other anatomy"
    return number


def _normalisation(seen: Fingerprint, reasons: dict[str, str]) -> Normalisation:
    where = "preprocessing.normalisation.kind"
    if seen.modality == "CT":
        return _of_ct(seen, reasons)
    if seen.modality in PICTURES:
        reasons[where] = f"{seen.modality}: grey values without a unit"
        return Normalisation(kind="percentiles", low=0.5, high=99.5)
    reasons[where] = f"{seen.modality or 'unknown modality'}: grey values without a unit, each scan by its own mean"
    return Normalisation(kind="zscore", low=0.5, high=99.5)


def _of_ct(seen: Fingerprint, reasons: dict[str, str]) -> Normalisation:
    reasons["preprocessing.normalisation.kind"] = "CT: Hounsfield units mean the same in every scan"
    if seen.inside is None or seen.inside.deviation < LEAST_DEVIATION_HU:
        reasons["preprocessing.normalisation.low"] = "the usual soft-tissue window: no values inside structures to go by"
        return Normalisation(kind="window", low=SOFT_TISSUE_HU[0], high=SOFT_TISSUE_HU[1])
    low, high, mean, deviation = (
        round(v, 1) for v in (seen.inside.low, seen.inside.high, seen.inside.mean, seen.inside.deviation)
    )
    reasons["preprocessing.normalisation.low"] = "0.5 and 99.5 percentile of the HU inside the structures"
    reasons["preprocessing.normalisation.mean"] = "of the HU inside the structures, like the deviation"
    return Normalisation(kind="foreground", low=low, high=high, mean=mean, deviation=deviation)


def plan_augmentation(
    cases: Sequence[Case], table: LabelTable, normalisation: Normalisation, patch: tuple[int, int], reasons: dict[str, str]
) -> Augmentation:
    """Which distortions, how strong."""
    reasons["augmentation.spatial_probability"] = "stronger than usual: a long training learns the cases less by heart"
    reasons["augmentation.rotation_deg"] = "twice the usual, as above"
    reasons["augmentation.scaling_fraction"] = "more than the usual 0.15, as above"
    reasons["augmentation.elastic_px"] = "twice the paper's 10 px on 512 px, in proportion to the patch"
    bias = BIAS_PROBABILITY if all(case.modality == "MR" for case in cases) else 0.0
    if bias:
        reasons["augmentation.bias_field_probability"] = "MR: coils leave uneven brightness"
    usual = Augmentation()
    half = 1.0
    if normalisation.kind in ("window", "percentiles"):
        half = 0.5
        reasons["augmentation.noise_deviation"] = "half of the usual, since values from -1 to 1 spread about half as much"
        reasons["augmentation.brightness_shift"] = "half of the usual, like the noise"
    return Augmentation(
        spatial_probability=SPATIAL_PROBABILITY,
        rotation_deg=ROTATION_DEG,
        scaling_fraction=SCALING_FRACTION,
        elastic_px=round(max(patch) * ELASTIC_FRACTION, 2),
        flips=_flips(cases, table, reasons),
        bias_field_probability=bias,
        noise_deviation=usual.noise_deviation * half,
        brightness_shift=usual.brightness_shift * half,
    )


def _flips(cases: Sequence[Case], table: LabelTable, reasons: dict[str, str]) -> tuple[str, ...]:
    """Pictures without an orientation may be mirrored; in a patient, sides and ends differ."""
    sided = [structure.name for structure in table.structures if side_of(structure)]
    if not sided and all(not case.spacing_known or case.modality == "picture" for case in cases):
        reasons["augmentation.flips"] = "pictures have neither left nor right"
        return ("rows", "columns")
    reasons["augmentation.flips"] = "add columns or rows where mirror images are as plausible as the scans"
    return ()
