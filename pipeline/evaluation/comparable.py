"""What makes a comparison of runs unfair: no common case, other data, other truth, learned cases. Computes no difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import Notice, some
from ..labels import LabelTable
from .paired import EQUAL
from .table import EvaluationTable, Row

SHOWN = 5  # names in one message
FEW_PATIENTS = 10
SAME_ML = 1e-4  # share by which two volumes of one mask may differ: files are written with six decimals


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a run was trained on."""

    manifest: str  # digest of its data set
    cases: frozenset[str]
    patients: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRun:
    """Scores of one run under the name that the user gave."""

    name: str
    file: Path  # where the scores were read
    evaluation: EvaluationTable
    trained: Trained | None = None  # None: only the scores are known
    notices: tuple[Notice, ...] = ()


def problems_of(runs: Sequence[ScoredRun], shared: Sequence[str]) -> list[str]:
    """Everything that speaks against comparing these runs, in sentences."""
    first, problems = runs[0], _other_data(runs)
    for run in runs[1:]:
        problems += _other_table(first, run)
        if not set(first.evaluation.cases) & set(run.evaluation.cases):
            problems.append(f"{run.name} shares no case with {first.name}{_learned_instead(first, run)}")
    if not shared and not any("shares no case" in problem for problem in problems):
        problems.append("no case was scored in all of the runs")
    if not any("label table" in problem for problem in problems):
        problems += [problem for run in runs[1:] for problem in _other_truth(first, run, shared)]
    problems += _other_patients(runs, shared)
    return problems + [problem for run in runs for problem in _leak(run, runs, shared)]


def _other_data(runs: Sequence[ScoredRun]) -> list[str]:
    named = [(run.name, run.trained.manifest if run.trained else run.evaluation.manifest) for run in runs]
    known = [(name, digest[:8]) for name, digest in named if digest]
    return [
        f"{name} belongs to another data set than {known[0][0]} (manifest {digest}, not {known[0][1]})"
        for name, digest in known[1:]
        if digest != known[0][1]
    ]


def _other_table(first: ScoredRun, run: ScoredRun) -> list[str]:
    ours, theirs = _meaning(first.evaluation.table), _meaning(run.evaluation.table)
    return [f"{run.name} has another label table than {first.name} ({theirs}, not {ours})"] if ours != theirs else []


def _meaning(table: LabelTable) -> str:
    """What decides a score, in words; colours and codes do not."""
    pairs = sorted((s.value, s.name) for s in table.structures)
    kind = ", overlapping" if table.overlapping else f", background={table.background}"
    return ", ".join(f"{name}={value}" for value, name in pairs) + kind


def _other_truth(first: ScoredRun, run: ScoredRun, shared: Sequence[str]) -> list[str]:
    """Truths that cannot be the same mask: another number of voxels, in all or of a structure, or of another size."""
    base, other = by_key(first), by_key(run)
    strange: dict[str, str] = {}
    for key in ((case, name) for case in shared for name in first.evaluation.table.names):
        a, b = base[key], other[key]
        counts = [(row.tp + row.fn, row.tp + row.fp + row.fn + row.tn) for row in (a, b)]
        if counts[0] != counts[1]:
            (true_a, all_a), (true_b, all_b) = counts
            strange.setdefault(key[0], f"{key[0]}: {key[1]} {true_b} of {all_b} voxels, not {true_a} of {all_a}")
        elif a.truth_ml is not None and b.truth_ml is not None and abs(a.truth_ml - b.truth_ml) > SAME_ML * a.truth_ml + EQUAL:
            strange.setdefault(key[0], f"{key[0]}: {key[1]} {b.truth_ml:g} ml, not {a.truth_ml:g} ml")
    if not strange:
        return []
    examples = "; ".join(list(strange.values())[:2])
    return [f"{run.name} was scored against another truth than {first.name} in {len(strange)} cases ({examples})"]


def _leak(run: ScoredRun, runs: Sequence[ScoredRun], shared: Sequence[str]) -> list[str]:
    """Compared cases that the run has learned from, by name or by patient."""
    if run.trained is None:
        return []
    owners: dict[str, set[str]] = {case: set() for case in shared}
    for one in runs:
        for case, patient in patients_of(one, shared).items():
            owners[case].add(patient)
    known = [c for c in shared if c in run.trained.cases or owners[c] & run.trained.patients]
    if not known:
        return []
    what = (
        f"{run.name} was trained on {len(known)} of the {len(shared)} compared cases or on their patients: {some(known, SHOWN)}"
    )
    return [f"{what} (a leak: it would look better than it is)"]


def _learned_instead(first: ScoredRun, run: ScoredRun) -> str:
    """Behind "shares no case": whether one was trained on what the other was scored on, as runs of two folds are."""
    if _other_data([first, run]):
        return ""  # there, equal names of patients mean nothing
    said = []
    for learner, judge in ((run, first), (first, run)):
        if learner.trained is not None:
            seen = [r for r in judge.evaluation.rows if _seen(r, learner.trained)]
            patients = len({row.patient_id for row in seen})
            if patients:
                said.append(f"{learner.name} was trained on {patients} of the patients that {judge.name} was scored on")
    return f" ({', and '.join(said)}: two folds cannot be compared)" if said else ""


def _seen(row: Row, trained: Trained) -> bool:
    return row.case in trained.cases or row.patient_id in trained.patients


def advice(runs: Sequence[ScoredRun], shared: Sequence[str]) -> str:
    """What to do about the problems, a sentence."""
    if not shared:
        first, other = (some(run.evaluation.cases[:2], SHOWN) for run in runs[:2])
        return f"Train and score the runs with the same --fold; here one scored {first}, the other {other}."
    return "Compare runs of one manifest and one --fold, scored by 'unet evaluate' on cases that none was trained on."


def patients_agreed(runs: Sequence[ScoredRun], shared: Sequence[str]) -> tuple[list[ScoredRun], list[Notice]]:
    """The runs with one patient a case: where some name none (each case its own), those of the others hold, which agree."""
    named = [run.name for run in runs if _names_patients(run, shared)]
    if not named or len(named) == len(runs):
        return list(runs), []
    right = next(patients_of(run, shared) for run in runs if run.name == named[0])
    agreed = []
    for run in runs:
        rows = tuple(replace(row, patient_id=right.get(row.case, row.patient_id)) for row in run.evaluation.rows)
        agreed.append(replace(run, evaluation=replace(run.evaluation, rows=rows)))
    without = " and ".join(run.name for run in runs if run.name not in named)
    return agreed, [Notice(code="patients-taken", sentence=f"{without}: no patients are named; those of {named[0]} are taken")]


def _names_patients(run: ScoredRun, shared: Sequence[str]) -> bool:
    return any(case != patient for case, patient in patients_of(run, shared).items())


def _other_patients(runs: Sequence[ScoredRun], shared: Sequence[str]) -> list[str]:
    """Runs that name other patients for a case than the first that names any."""
    named = [run for run in runs if _names_patients(run, shared)]
    problems = []
    for run in named[1:]:
        right = patients_of(named[0], shared)
        wrong = [case for case, patient in patients_of(run, shared).items() if patient != right[case]]
        if wrong:
            what = f"{run.name} and {named[0].name} name different patients for {len(wrong)} cases: {some(wrong, SHOWN)}"
            problems.append(f"{what} (--patients CSV of 'unet evaluate' says whose they are)")
    return problems


def notices_of(runs: Sequence[ScoredRun], shared: Sequence[str]) -> list[Notice]:
    """What a reader of the comparison must know of the runs."""
    notices = [notice for run in runs for notice in run.notices]
    for run in runs:
        left = len(run.evaluation.cases) - len(shared)
        if left:
            sentence = f"{left} of its {len(run.evaluation.cases)} cases are not in all runs and are left out"
            notices.append(Notice(code="cases-left-out", sentence=sentence, where=run.name))
    unknown = [run.name for run in runs if run.trained is None]
    if unknown:
        sentence = (
            f"{', '.join(unknown)}: scores without a run, so nobody has checked that these cases were not trained on; "
            "the voxels of the truth were counted and are as many in all runs"
        )
        notices.append(Notice(code="training-unknown", sentence=sentence))
    tolerances = sorted({run.evaluation.tolerance_mm for run in runs})
    if len(tolerances) > 1:
        said = ", ".join(f"{mm:g}" for mm in tolerances)
        notices.append(Notice(code="nsd-left-out", sentence=f"NSD is left out: its tolerances differ ({said} mm)"))
    patients = len(set(patients_of(runs[0], shared).values()))
    if patients < FEW_PATIENTS:
        sentence = f"{patients} patients are few: bootstrap intervals of fewer than {FEW_PATIENTS} are too narrow"
        notices.append(Notice(code="few-patients", sentence=sentence))
    return notices


def by_key(run: ScoredRun) -> dict[tuple[str, str], Row]:
    """(case, structure) → row."""
    return {(row.case, row.structure): row for row in run.evaluation.rows}


def patients_of(run: ScoredRun, shared: Sequence[str]) -> dict[str, str]:
    """Case → patient, of the shared cases."""
    wanted = set(shared)
    return {row.case: row.patient_id for row in run.evaluation.rows if row.case in wanted}
