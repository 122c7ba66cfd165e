"""Statistics of paired numbers: difference, interval, signed-rank test, Holm. Knows nothing of runs, files or structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .scores import mean, mean_with_interval

EQUAL = 5e-7  # scores are written with six decimals: a smaller difference cannot be told from none
EXACT_UP_TO = 50  # patients; above, the normal distribution is as good


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRank:
    """A signed-rank test on patients' mean differences."""

    p: float
    method: str  # "exact", "normal", or "none" where no patient differs
    patients: int  # that differ: the others say nothing about the direction


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """The second set of numbers against the first, over the cases in which both are there."""

    count: int  # cases with a number in both
    patients: int
    neither: int  # cases without a number in either
    only_first: int  # cases with a number in one of the two only: there is no difference to average
    only_second: int
    first: float | None  # means over the `count` cases; None: there are none
    second: float | None
    difference: float | None  # mean over the cases of second minus first
    low: float | None  # its 95 % interval; None: fewer than two patients
    high: float | None
    greater: int  # cases in which the second is the larger
    less: int
    equal: int
    test: SignedRank | None  # None: fewer than two patients


def paired(first: Sequence[float | None], second: Sequence[float | None], patients: Sequence[str]) -> Paired:
    """Compare two numbers a case; None is n/a.

    Args:
        first, second, patients: one entry a case, in the same order.
    Returns: means and interval over cases, the interval from a seeded bootstrap that draws patients; the test over patients.
    """
    rows = list(zip(first, second, patients, strict=True))
    both = [(a, b, patient) for a, b, patient in rows if a is not None and b is not None]
    differences = [b - a for a, b, _ in both]
    owners = [patient for *_, patient in both]
    change = mean_with_interval(differences, owners)
    greater, less = sum(d > EQUAL for d in differences), sum(d < -EQUAL for d in differences)
    return Paired(
        count=len(both),
        patients=len(set(owners)),
        neither=sum(a is None and b is None for a, b, _ in rows),
        only_first=sum(a is not None and b is None for a, b, _ in rows),
        only_second=sum(a is None and b is not None for a, b, _ in rows),
        first=mean(a for a, _, _ in both).value,
        second=mean(b for _, b, _ in both).value,
        difference=change.value,
        low=change.low,
        high=change.high,
        greater=greater,
        less=less,
        equal=len(both) - greater - less,
        test=signed_rank(patient_means(differences, owners)) if len(set(owners)) > 1 else None,
    )


def patient_means(values: Sequence[float], patients: Sequence[str]) -> list[float]:
    """One mean a patient, in the order in which the patients come first: two scans of a patient are not two witnesses."""
    groups: dict[str, list[float]] = {}
    for value, patient in zip(values, patients, strict=True):
        groups.setdefault(patient, []).append(value)
    return [float(np.mean(group)) for group in groups.values()]


def signed_rank(differences: Sequence[float]) -> SignedRank:
    """Wilcoxon's signed-rank test, two-sided; differences of 0 are left out, ties share their ranks.

    Exact for few, with ties as well; for more, scipy's normal approximation with corrections for ties and continuity.

    Source: Wilcoxon 1945; Hollander, Wolfe and Chicken 2014, section 3.1.
    """
    from scipy.stats import wilcoxon

    rounded = np.round(np.asarray(differences, dtype=np.float64), 6)  # what is equal on paper must tie here, too
    moved = rounded[rounded != 0]
    if moved.size == 0:
        return SignedRank(p=1.0, method="none", patients=0)
    if moved.size <= EXACT_UP_TO:
        return SignedRank(p=_exact_p(moved), method="exact", patients=int(moved.size))
    p = wilcoxon(moved, method="approx", correction=True).pvalue
    return SignedRank(p=min(1.0, float(p)), method="normal", patients=int(moved.size))


def _exact_p(moved: np.ndarray) -> float:
    """Share of the 2^n changes of sign that are at least as uneven; scipy's own "exact" presumes that no ranks are tied.

    Args:
        moved: (n,) differences, none of them 0, n at most 62: the counts must fit 64 bits.
    """
    from scipy.stats import rankdata

    ranks = np.round(2 * rankdata(np.abs(moved))).astype(np.int64)  # shared ranks are halves: doubled, they are whole
    ways = np.zeros(ranks.sum() + 1, dtype=np.int64)  # how many changes of sign give this sum of the ranks below 0
    ways[0] = 1
    for rank in ranks:
        ways[rank:] = ways[rank:] + ways[: ways.size - rank]
    below = ranks[moved < 0].sum()
    smaller = min(below, ranks.sum() - below)
    return min(1.0, 2.0 * float(ways[: smaller + 1].sum()) / 2.0**moved.size)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values as they stand when all of them are looked at, in the given order; at most 1.

    Source: Holm 1979: the smallest times their number, the next times one less, never below the one before.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        largest = max(largest, min(1.0, p_values[position] * (len(p_values) - rank)))
        corrected[position] = largest
    return corrected
