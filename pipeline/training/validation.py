"""Whole volumes through the network, counted per structure, on the network's grid; `unet evaluate` scores the scan's own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from ..data.case_store import StoredCase
from ..data.slice_grid import with_neighbours
from ..evaluation.counts import Counts, count
from ..evaluation.scores import SCORES, Scores, mean, scores
from ..labels import LabelTable
from ..network.decide import Head, decide
from ..network.tiling import WholeSlice
from . import world

PIXELS_AT_ONCE = 1 << 17  # slices that go through the network together: faster than one by one where slices are small


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseScores:
    """Scores of one validated case, one a structure."""

    case: str
    counts: Counts
    scores: tuple[Scores, ...]

    @property
    def dice(self) -> float:
        """Mean over the structures that occur; 1 where none does and none is found."""
        value = mean(s.dice for s in self.scores).value
        return 1.0 if value is None else value


class Validator:
    """Scores a network on stored cases."""

    def __init__(
        self, cases: Sequence[StoredCase], table: LabelTable, head: Head, *, neighbours: int, device: torch.device
    ) -> None:
        self.cases = list(cases)
        self.table = table
        self.head: Head = head
        self.neighbours = neighbours
        self.device = device
        self.indices = _by_index(table)

    def __call__(self, network: WholeSlice) -> list[CaseScores]:
        """One entry a case, scored by as many processes as there are. The network keeps the mode (training or not) it had."""
        return world.of_all([self._score(network, case) for case in world.dealt(self.cases)])

    def expected_s(self, network: WholeSlice) -> float:
        """Seconds that scoring all cases will take, from the first of them; 0 without cases."""
        if not self.cases:
            return 0.0
        took_s = min(self._timed(network), self._timed(network))  # the first of a kind is slow by what it has to set up
        pixels = [case.image.size for case in self.cases]
        return took_s * sum(pixels) / pixels[0]

    def _timed(self, network: WholeSlice) -> float:
        started = time.monotonic()
        self._score(network, self.cases[0])
        return time.monotonic() - started

    def _score(self, network: WholeSlice, case: StoredCase) -> CaseScores:
        return self.judge(case, self.predict(network, case))

    def judge(self, case: StoredCase, predicted: np.ndarray) -> CaseScores:
        """The scores of a mask such as `predict` gives."""
        counts = count(_last(np.asarray(case.label)), _last(predicted), self.indices, where=case.case)
        return CaseScores(case=case.case, counts=counts, scores=scores(counts))

    def predict(self, network: nn.Module, case: StoredCase) -> np.ndarray:
        """Class indices (slices, rows, columns), or (slices, structures, rows, columns) of 0 and 1; uint8.

        In evaluation mode, whatever mode the network comes in and is given back in.
        """
        return torch.cat([chosen for _, chosen in self.slices(network, case)]).cpu().numpy()

    def slices(self, network: nn.Module, case: StoredCase) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Some slices after the other: scores (B, K, H, W), and what they decide, as in `predict`."""
        with _evaluating(network), torch.inference_mode():
            for batch in self._batches(case):
                scores = network(batch)
                yield scores, decide(scores, self.head, overlapping=self.table.overlapping)

    def _batches(self, case: StoredCase) -> Iterator[torch.Tensor]:
        image = case.image
        size = max(1, PIXELS_AT_ONCE // (image.shape[-2] * image.shape[-1]))
        for start in range(0, len(image), size):
            numbers = range(start, min(len(image), start + size))
            batch = np.stack([with_neighbours(image, number, self.neighbours) for number in numbers])
            yield torch.from_numpy(batch).to(self.device)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    before = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(before)


def metrics(results: Sequence[CaseScores], table: LabelTable) -> dict[str, float]:
    """Flat numbers for the tracker: mean over the cases of each score and structure, and "val/dice", the mean of structures.

    A structure that is n/a in a case (absent from truth and prediction) is left out of its mean; n/a everywhere, it has none.
    """
    flat: dict[str, float] = {}
    dices = []
    for position, name in enumerate(table.names):
        for measure in SCORES:
            value = mean(getattr(r.scores[position], measure) for r in results).value
            if value is not None:
                flat[f"val/{measure}/{name}"] = value
                if measure == "dice":
                    dices.append(value)
    if dices:
        flat["val/dice"] = float(np.mean(dices))
    return flat


def _by_index(table: LabelTable) -> LabelTable:
    """The same structures with class indices as values: what stored labels and decided scores hold."""
    structures = tuple(replace(structure, value=index) for index, structure in enumerate(table.structures, start=1))
    return LabelTable(structures=structures, overlapping=table.overlapping)


def _last(array: np.ndarray) -> np.ndarray:
    """Structures of overlapping labels behind the pixels, as `count` takes them."""
    return np.moveaxis(array, 1, -1) if array.ndim == 4 else array
