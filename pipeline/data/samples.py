"""Training samples: which slice, which patch of it, distorted how. A sample depends on the seed and its number alone.

Knows nothing of networks beyond the side of the patch; workers, order and restarts change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from .augmentation import Augmentation
from .case_store import StoredCase
from .slice_grid import with_neighbours
from .transforms import augment, augmentation_transforms


class Sample(TypedDict):
    """One sample of a batch."""

    image: torch.Tensor  # (C, H, W) float32
    label: torch.Tensor  # (1 or structures, H - 2 border, W - 2 border) uint8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How samples are drawn."""

    patch: tuple[int, int]  # rows, columns of the network's input
    border: int  # pixels that the network loses on each side: the label is smaller by them
    neighbours: int
    foreground_fraction: float
    seed: int
    swaps: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)  # see `augmentation_fit.swaps_of`
    limits: tuple[float, float] | None = None  # see `Normalisation.limits`


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patch:
    """A sample before it is distorted."""

    case: StoredCase
    image: np.ndarray  # (C, H, W) float32
    label: np.ndarray  # (1 or structures, H, W) uint8, of the whole patch
    seed: int  # of its distortions


class SliceSamples(Dataset[Sample]):
    """Sample number n, for any n: the epochs are ranges of numbers (see `NumbersFrom`).

    A share of the samples is centred near a pixel of a structure, each structure equally often, so that small ones are seen;
    the others are any patch of any slice. Patches that reach over the image are mirrored, as in prediction.
    """

    def __init__(self, cases: Sequence[StoredCase], sampling: Sampling, augmentation: Augmentation) -> None:
        # Files are opened for each sample (0.2 ms of its 10): thousands kept open would pass the system's limit, and nothing
        # but names travels to the workers.
        self.sampling = sampling
        self.cases = list(cases)
        shapes = [case.image.shape for case in cases]  # (slices, channels, rows, columns)
        self.sides = [shape[-2:] for shape in shapes]
        self.ends = np.cumsum([shape[0] for shape in shapes])  # of each case, where the slices of all are numbered through
        with_it = {s: [i for i, case in enumerate(cases) if len(case.positions(s))] for s in range(cases[0].structures)}
        self.cases_with = [(structure, numbers) for structure, numbers in with_it.items() if numbers]
        self.augmentation = augmentation
        self.transforms = augmentation_transforms(augmentation, swaps=sampling.swaps, limits=sampling.limits)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, number: int) -> Sample:
        patch = self.patch(number)
        image, label = augment(self.transforms, patch.image, patch.label, patch.seed)
        border = self.sampling.border
        if border:
            label = label[:, border:-border, border:-border]
        return {"image": image.contiguous(), "label": label.contiguous()}

    def patch(self, number: int) -> Patch:
        """The sample of this number as it was scanned, border included."""
        draw = np.random.default_rng((self.sampling.seed, number))
        case, index, row, column = self._centre(draw)
        top, left = (
            _start(centre, side, window, 2 * self.sampling.border, draw)
            for centre, side, window in zip((row, column), self.sides[case], self.sampling.patch, strict=True)
        )
        rows, columns = self.sampling.patch
        image = with_neighbours(self.cases[case].image, index, self.sampling.neighbours)
        label = self.cases[case].label[index]
        return Patch(
            case=self.cases[case],
            image=_cut(np.asarray(image), top, left, rows, columns),
            label=_cut(np.asarray(label if label.ndim == 3 else label[np.newaxis]), top, left, rows, columns),
            seed=int(draw.integers(2**31 - 1)),
        )

    def _centre(self, draw: np.random.Generator) -> tuple[int, int, int, int]:
        """Case, slice, row, column."""
        if self.cases_with and draw.random() < self.sampling.foreground_fraction:
            structure, numbers = self.cases_with[draw.integers(len(self.cases_with))]
            case = numbers[draw.integers(len(numbers))]
            positions = self.cases[case].positions(structure)
            index, row, column = positions[draw.integers(len(positions))]
            return case, int(index), int(row), int(column)
        number = int(draw.integers(self.ends[-1]))
        case = int(np.searchsorted(self.ends, number, side="right"))
        index = number - int(self.ends[case - 1] if case else 0)
        rows, columns = self.sides[case]
        return case, index, int(draw.integers(rows)), int(draw.integers(columns))


class NumbersFrom(Sampler[int]):
    """Sample numbers without an end, from the first of an epoch: a resumed training goes on where the sequence broke off.

    Args:
        own: how many of each batch are this process' part, beginning with `first`.
        batch: numbers from one batch to the next.
    """

    def __init__(self, first: int, own: int = 1, batch: int = 1) -> None:
        self.first, self.own, self.batch = first, own, batch

    def __iter__(self) -> Iterator[int]:
        return (start + place for start in count(self.first, self.batch) for place in range(self.own))


def _start(centre: int, side: int, window: int, border: int, draw: np.random.Generator) -> int:
    """First pixel of a window around `centre`, in the image's numbering; may be negative (mirrored).

    The window's valid part stays on the image where it fits; where the image is smaller, it lies anywhere within.
    """
    valid = window - border
    jitter = int(draw.integers(-(valid // 4), valid // 4 + 1))
    start = centre - valid // 2 + jitter
    low, high = sorted((0, side - valid))
    return int(np.clip(start, low, high)) - border // 2


def _cut(array: np.ndarray, top: int, left: int, rows: int, columns: int) -> np.ndarray:
    """(C, H, W) → (C, rows, columns), mirrored at the border as often as it takes."""
    down = _mirrored(top, rows, array.shape[1])
    across = _mirrored(left, columns, array.shape[2])
    return np.ascontiguousarray(array[:, down[:, None], across])


@lru_cache(maxsize=4096)  # of a few places, but for every sample
def _mirrored(start: int, count: int, side: int) -> np.ndarray:
    before, after = max(0, -start), max(0, start + count - side)
    if side == 1:
        return np.zeros(count, dtype=np.intp)
    return np.pad(np.arange(side), (before, after), mode="reflect")[start + before : start + before + count]
