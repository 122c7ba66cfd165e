"""Ratios from counts: Dice, IoU, precision, recall, accuracy. Knows nothing of masks or files.

The one place where they are defined: training, evaluation and pages call this.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np

from .counts import Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Scores of one structure, 0 to 1; None is "n/a": the structure is neither in the truth nor in the prediction.

    Present in one of the two only, Dice, IoU, precision and recall are 0: a false alarm and a miss both count.
    """

    dice: float | None  # 2 TP / (2 TP + FP + FN)
    iou: float | None  # TP / (TP + FP + FN)
    precision: float | None  # TP / (TP + FP)
    recall: float | None  # TP / (TP + FN)
    accuracy: float | None  # (TP + TN) / all: near 1 for a small structure whatever is predicted; never rank by it


SCORES = tuple(field.name for field in fields(Scores))  # in the order of every table


def scores(counts: Counts) -> tuple[Scores, ...]:
    """The scores of each structure, in the order of the counts."""
    return tuple(
        _scores(int(tp), int(fp), int(fn), int(tn))
        for tp, fp, fn, tn in zip(counts.tp, counts.fp, counts.fn, counts.tn, strict=True)
    )


def _scores(tp: int, fp: int, fn: int, tn: int) -> Scores:
    if tp + fp + fn == 0:
        return Scores(dice=None, iou=None, precision=None, recall=None, accuracy=None)
    return Scores(
        dice=2 * tp / (2 * tp + fp + fn),
        iou=tp / (tp + fp + fn),
        precision=tp / (tp + fp) if tp else 0.0,
        recall=tp / (tp + fn) if tp else 0.0,
        accuracy=(tp + tn) / (tp + fp + fn + tn),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean with how many it is a mean of, and its 95 % bootstrap interval."""

    value: float | None  # None: nothing to average
    count: int
    left_out: int  # n/a, therefore not in the mean
    low: float | None = None  # None: fewer than two patients (or cases), no interval can be drawn
    high: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return "n/a (n=0)"
        interval = f" [{self.low:.3g}, {self.high:.3g}]" if self.low is not None else ""
        return f"{self.value:.4f}{interval} (n={self.count})"


def mean(values: Iterable[float | None]) -> Mean:
    """The mean of what is there; None is counted apart, never averaged as 0."""
    everything = list(values)
    present = [value for value in everything if value is not None]
    value = float(np.mean(present)) if present else None
    return Mean(value=value, count=len(present), left_out=len(everything) - len(present))


RESAMPLES = 2000  # the interval's ends move by less than 0.001 of a Dice between seeds


def mean_with_interval(values: Iterable[float | None], patients: Iterable[str], *, seed: int = 0) -> Mean:
    """A mean over cases with its 95 % interval from a bootstrap over patients.

    Args:
        values: one a case; None is left out and counted.
        patients: one a case; cases of a patient are drawn together, since they are alike.
    Source: percentile bootstrap, Efron and Tibshirani 1993, section 13.3; drawing clusters: Field and Welsh 2007.
    """
    pairs = list(zip(values, patients, strict=True))
    plain = mean(value for value, _ in pairs)
    sums: dict[str, list[float]] = {}
    for value, patient in pairs:
        if value is not None:
            sums.setdefault(patient, []).append(value)
    if len(sums) < 2:
        return plain
    totals = np.array([sum(group) for group in sums.values()])
    sizes = np.array([len(group) for group in sums.values()])
    drawn = np.random.default_rng(seed).integers(0, len(sums), size=(RESAMPLES, len(sums)))
    means = totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Mean(value=plain.value, count=plain.count, left_out=plain.left_out, low=float(low), high=float(high))
