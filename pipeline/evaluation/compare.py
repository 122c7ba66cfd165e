"""Compare runs case by case: which cases they share, what makes a comparison unfair, and the differences per structure.

Knows nothing of run folders: what is known of a run's training comes with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from ..errors import Notice, UserError
from ..labels import LabelTable
from .comparable import ScoredRun, advice, by_key, notices_of, patients_agreed, patients_of, problems_of
from .paired import EQUAL, Paired, holm, paired
from .table import MEASURES

COMPARED = tuple(name for name in MEASURES if name != "volume_error_ml")  # of that one neither more nor less is better
LESS_IS_BETTER = frozenset({"hd95_mm"})
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # what the runs are called in tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One structure's Dice of one case in both runs."""

    case: str
    first: float
    second: float

    @property
    def difference(self) -> float:
        return self.second - self.first


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One measure of one structure: a run against the first."""

    letter: str  # of the run that is compared with A
    structure: str
    measure: str
    result: Paired
    p_corrected: float | None  # Holm over all tests of this measure here
    changes: tuple[Change, ...]  # every case with a number in both, from the greatest loss to the greatest gain

    @property
    def less_is_better(self) -> bool:
        return self.measure in LESS_IS_BETTER

    @property
    def better(self) -> int:
        return self.result.less if self.less_is_better else self.result.greater

    @property
    def worse(self) -> int:
        return self.result.greater if self.less_is_better else self.result.less

    def worst(self, count: int = 5) -> tuple[Change, ...]:
        """The cases that lost the most, if any lost."""
        sign = -1.0 if self.less_is_better else 1.0
        return tuple(change for change in self.changes if sign * change.difference < -EQUAL)[:count]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All runs against the first, on the cases that all of them share."""

    runs: Mapping[str, str]  # letter → name; A is the first
    table: LabelTable
    cases: tuple[str, ...]
    patients: int
    tolerance_mm: float
    differences: tuple[Difference, ...]  # by measure, then by run, then by structure
    notices: tuple[Notice, ...]

    def of(self, measure: str) -> tuple[Difference, ...]:
        return tuple(d for d in self.differences if d.measure == measure)

    def to_json(self) -> dict[str, object]:
        """Plain types; null is n/a."""
        return {
            "runs": dict(self.runs),
            "against": "A",
            "cases": list(self.cases),
            "patients": self.patients,
            "label_table": self.table.to_json(),
            "nsd_tolerance_mm": self.tolerance_mm,
            "interval": "95 %, percentile bootstrap over patients, seed 0",
            "test": "Wilcoxon signed-rank on patients' mean differences, two-sided; p_corrected: Holm within a measure",
            "differences": [_flat(difference) for difference in self.differences],
            "notices": [notice.to_json() for notice in self.notices],
        }


def compare_runs(runs: Sequence[ScoredRun]) -> Comparison:
    """Compare every run with the first.

    Args:
        runs: two to 26.
    Raises: UserError with all that speaks against the comparison: no common case, other data set, label table or truth,
        a run that was trained on what is compared.
    """
    if len(runs) < 2:
        raise UserError("one run alone cannot be compared", next="Name two or more: unet compare RUN RUN...")
    if len(runs) > len(LETTERS):
        raise UserError(f"{len(runs)} runs are too many to be compared at once", next=f"Name at most {len(LETTERS)}.")
    shared = _shared(runs)
    problems = problems_of(runs, shared)
    if problems:
        raise UserError("; ".join(problems), next=advice(runs, shared))
    runs, notices = patients_agreed(runs, shared)
    measures = [m for m in COMPARED if m != "nsd" or len({run.evaluation.tolerance_mm for run in runs}) == 1]
    return Comparison(
        runs={letter: run.name for letter, run in zip(LETTERS, runs, strict=False)},
        table=runs[0].evaluation.table,
        cases=tuple(shared),
        patients=len(set(patients_of(runs[0], shared).values())),
        tolerance_mm=runs[0].evaluation.tolerance_mm,
        differences=tuple(d for measure in measures for d in _differences(runs, shared, measure)),
        notices=(*notices, *notices_of(runs, shared)),
    )


def _shared(runs: Sequence[ScoredRun]) -> list[str]:
    """Cases that every run scored, sorted: the order in which patients are drawn must not hang on the order of the runs."""
    return sorted(set.intersection(*(set(run.evaluation.cases) for run in runs)))


def _differences(runs: Sequence[ScoredRun], shared: Sequence[str], measure: str) -> list[Difference]:
    base, patients = by_key(runs[0]), patients_of(runs[0], shared)
    sign = -1.0 if measure in LESS_IS_BETTER else 1.0
    found = []
    for letter, run in zip(LETTERS[1:], runs[1:], strict=False):
        other = by_key(run)
        for structure in runs[0].evaluation.table.names:
            pairs = [(base[c, structure].measures()[measure], other[c, structure].measures()[measure]) for c in shared]
            result = paired([a for a, _ in pairs], [b for _, b in pairs], [patients[c] for c in shared])
            changes = [
                Change(case=case, first=a, second=b)
                for case, (a, b) in zip(shared, pairs, strict=True)
                if a is not None and b is not None
            ]
            changes.sort(key=lambda change: (sign * change.difference, change.case))
            found.append(
                Difference(
                    letter=letter,
                    structure=structure,
                    measure=measure,
                    result=result,
                    p_corrected=None,
                    changes=tuple(changes),
                )
            )
    tested = [(k, d.result.test.p) for k, d in enumerate(found) if d.result.test is not None]
    for (k, _), corrected in zip(tested, holm([p for _, p in tested]), strict=True):
        found[k] = replace(found[k], p_corrected=corrected)
    return found


def _flat(difference: Difference) -> dict[str, object]:
    test = difference.result.test
    return {
        "run": difference.letter,
        "structure": difference.structure,
        "measure": difference.measure,
        **{key: value for key, value in asdict(difference.result).items() if key not in ("test", "greater", "less")},
        "better": difference.better,
        "worse": difference.worse,
        "p": None if test is None else test.p,
        "p_corrected": difference.p_corrected,
        "test": None if test is None else test.method,
        "changes": [asdict(change) for change in difference.changes],
    }
