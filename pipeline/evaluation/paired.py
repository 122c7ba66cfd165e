"""Statistics of paired numbers: difference, interval, signed-rank test, Holm. Knows nothing of runs, files or structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .scores import mean, mean_with_interval

EQUAL = 5e-7  # scores are written with six decimals: a smaller difference cannot be told from none
EXACT_WITHOUT_TIES = 50  # patients up to which the exact distribution is used; above it the normal one is as good
EXACT_WITH_TIES = 13  # patients up to which all changes of sign (8192) are tried where ranks are tied


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRank:
    """A signed-rank test on patients' mean differences."""

    p: float
    method: str  # "exact", "all sign changes", "normal", or "none" where no patient differs
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

    Exact for few: by the distribution of the ranks, or, where ranks are tied, by trying every change of sign.

    Source: Wilcoxon 1945; scipy.stats.wilcoxon. Its "exact" presumes different ranks, so ties go another way.
    """
    from scipy.stats import PermutationMethod, wilcoxon

    rounded = np.round(np.asarray(differences, dtype=np.float64), 6)  # what is equal on paper must tie here, too
    moved = rounded[rounded != 0]
    if moved.size == 0:
        return SignedRank(p=1.0, method="none", patients=0)
    tied = len(set(np.abs(moved).tolist())) < moved.size
    if not tied and moved.size <= EXACT_WITHOUT_TIES:
        p, method = wilcoxon(moved, method="exact").pvalue, "exact"
    elif moved.size <= EXACT_WITH_TIES:
        p, method = wilcoxon(moved, method=PermutationMethod(n_resamples=1 << moved.size)).pvalue, "all sign changes"
    else:
        p, method = wilcoxon(moved, method="approx", correction=True).pvalue, "normal"
    return SignedRank(p=min(1.0, float(p)), method=method, patients=int(moved.size))


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
