"""Which post-processing helps which structure, by the validation cases. Knows no network and no files.

A step is kept for a structure where both hold:
- the mean Dice rises by at least MARGIN;
- it helps more patients than it hurts, and that by more than luck: where it hurt and helped at equal odds, so many patients or
  more would be helped with a probability of at most CHANCE (one-sided sign test; five helped and none hurt have 0.031).

So with fewer than five patients whose masks change, nothing is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import comb
from typing import Any

import numpy as np
from scipy import ndimage

from ..data.postprocess import Postprocessing, Steps, holes, pieces
from ..labels import LabelTable

MARGIN = 0.001
CHANCE = 0.05
SHARES = (0.1, 0.5, 1.0)  # of the size that nine of ten true pieces exceed: the smallest sizes that are tried


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """One structure in one case, as far as steps can change it."""

    truth: int  # voxels
    pieces: np.ndarray  # voxels of each connected piece that was found
    right: np.ndarray  # how many of them are in the truth
    hole: int  # voxels of background that it encloses
    hole_right: int
    true_pieces: np.ndarray  # voxels of each connected piece of the truth

    def dice(self, steps: Steps, voxel_ml: float) -> float:
        """After one step. 1 where it is neither in the truth nor found: what a step can reach there."""
        stays = self.stays(steps, voxel_ml)
        found, right = int(self.pieces[stays].sum()), int(self.right[stays].sum())
        if steps.holes:
            found, right = found + self.hole, right + self.hole_right
        return 2 * right / (found + self.truth) if found + self.truth else 1.0

    def stays(self, steps: Steps, voxel_ml: float) -> np.ndarray:
        """Which pieces stay, bool."""
        stays = self.pieces * voxel_ml >= steps.smallest_ml
        if steps.largest and len(stays):
            stays &= np.arange(len(stays)) == np.argmax(self.pieces)
        return np.asarray(stays)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One validated case."""

    patient: str
    voxel_ml: float
    structures: tuple[Found, ...]  # in the table's order


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One step tried for one structure."""

    structure: str
    steps: Steps
    dice_before: float  # mean over the patients
    dice_after: float
    helped: int  # patients
    hurt: int

    @property
    def by_luck(self) -> float:
        """One-sided sign test: the probability of as many helped patients, or more, if each were as likely hurt."""
        changed = self.helped + self.hurt
        return float(sum(comb(changed, k) for k in range(self.helped, changed + 1)) / 2**changed)

    @property
    def kept(self) -> bool:
        return self.dice_after - self.dice_before >= MARGIN and self.by_luck <= CHANCE

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "steps": str(self.steps), "by_luck": self.by_luck, "helps": self.kept}


def look(truth: np.ndarray, predicted: np.ndarray, table: LabelTable, *, patient: str, voxel_ml: float) -> Looked:
    """What steps could change in one case.

    Args:
        truth, predicted: (slices, rows, columns) of class indices, or (slices, structures, rows, columns) of 0 and 1.
    """
    places = range(len(table.structures))
    if table.overlapping:
        pairs = [(truth[:, k], predicted[:, k]) for k in places]
        parts = [_look(*pair, 1, *(_boxes(labels, 1)[0] for labels in pair)) for pair in pairs]
    else:
        true_boxes, boxes = (_boxes(labels, len(places)) for labels in (truth, predicted))
        parts = [_look(truth, predicted, k + 1, true_boxes[k], boxes[k]) for k in places]
    return Looked(patient=patient, voxel_ml=voxel_ml, structures=tuple(parts))


def _boxes(labels: np.ndarray, values: int) -> list[tuple[slice, ...]]:
    """The smallest box around each value from 1 on; an empty one where it does not occur."""
    found = ndimage.find_objects(labels, max_label=values)
    nothing = (slice(0, 0),) * 3
    return [found[k] or nothing if k < len(found) else nothing for k in range(values)]


def _look(true: np.ndarray, found: np.ndarray, value: int, true_box: tuple[slice, ...], box: tuple[slice, ...]) -> Found:
    mask, truth = found[box] == value, true[box] == value
    numbers, sizes = pieces(mask)
    hole = holes(mask, whole=found.shape) & (found[box] == 0)
    _, true_sizes = pieces(true[true_box] == value)
    return Found(
        truth=int(true_sizes.sum()),
        pieces=sizes,
        right=np.bincount(numbers[truth], minlength=len(sizes) + 1)[1:],
        hole=int(hole.sum()),
        hole_right=int((hole & truth).sum()),
        true_pieces=true_sizes,
    )


def choose(cases: Sequence[Looked], table: LabelTable, *, known_ml: bool) -> tuple[dict[str, Steps], list[Trial]]:
    """The steps that help, structure by structure, and all that were tried.

    Of the steps that remove pieces, the one with the highest mean Dice is taken; of equal ones the mildest.

    Args:
        known_ml: whether it is known how large voxels are: without, no smallest size is tried.
    """
    chosen: dict[str, Steps] = {}
    trials: list[Trial] = []
    for position, name in enumerate(table.names):
        sizes = _sizes_ml(cases, position) if known_ml else []
        removing = [Steps(smallest_ml=size) for size in sizes] + [Steps(largest=True)]
        tried = [_try(cases, position, name, steps) for steps in removing]
        filled = _try(cases, position, name, Steps(holes=True))
        best = max((t for t in tried if t.kept), key=lambda t: t.dice_after, default=None)
        steps = Steps(
            smallest_ml=best.steps.smallest_ml if best else 0.0, largest=bool(best and best.steps.largest), holes=filled.kept
        )
        if steps:
            chosen[name] = steps
        trials += [*tried, filled]
    return chosen, trials


def _try(cases: Sequence[Looked], position: int, name: str, steps: Steps) -> Trial:
    """A patient is hurt, too, where a structure that is there, and was found at some place, would be removed altogether."""
    before: dict[str, list[float]] = {}
    after: dict[str, list[float]] = {}
    emptied = set()
    for case in cases:
        found = case.structures[position]
        before.setdefault(case.patient, []).append(found.dice(Steps(), case.voxel_ml))
        after.setdefault(case.patient, []).append(found.dice(steps, case.voxel_ml))
        if found.truth and len(found.pieces) and not found.stays(steps, case.voxel_ml).any():
            emptied.add(case.patient)
    old, new = (np.array([np.mean(values) for values in each.values()]) for each in (before, after))
    harmed = np.array([patient in emptied for patient in before]) | (new < old)
    return Trial(
        structure=name,
        steps=steps,
        dice_before=float(old.mean()),
        dice_after=float(new.mean()),
        helped=int(np.sum((new > old) & ~harmed)),
        hurt=int(harmed.sum()),
    )


def _sizes_ml(cases: Sequence[Looked], position: int) -> list[float]:
    """Smallest sizes to try, by the sizes of true pieces; none where the structure is in no truth."""
    true_ml = np.concatenate([case.structures[position].true_pieces * case.voxel_ml for case in cases])
    if not len(true_ml):
        return []
    small_ml = float(np.percentile(true_ml, 10))
    return sorted({float(f"{share * small_ml:.2g}") for share in SHARES} - {0.0})


def without(chosen: Postprocessing, names: set[str]) -> dict[str, Steps]:
    """The choice, but for these structures."""
    return {name: steps for name, steps in chosen.items() if name not in names}
