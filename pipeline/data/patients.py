"""Whose a case is, and which fold the user wants it in. Knows tables and names, no voxels."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import Notice, UserError, nearest
from .found import FoundSet
from .source_csv import read_table


def patient_of_case(found: FoundSet, *, pattern: str, table: Path | None) -> tuple[dict[str, str], tuple[Notice, ...]]:
    """Case → patient_id, from a CSV, a regular expression on the case's name, or the source itself.

    Args:
        pattern: with one group; "" for none.
        table: CSV with the columns case and patient_id; None for none.
    Returns: with a notice where nobody says it and every case counts as its own patient.
    Raises: UserError that names the cases whose patient cannot be told.
    """
    names = [case.case for case in found.cases]
    if table is not None:
        return _from_table(names, table, "patient_id", "--patients")
    if pattern:
        matches = {name: re.search(pattern, name) for name in names}
        missing = [name for name, match in matches.items() if match is None or not match.group(1)]
        if missing:
            what = f"'{pattern}' does not fit {len(missing)} cases: {', '.join(missing[:5])}"
            raise UserError(what, where="--patient", next="The expression is searched in the case's name.")
        return {name: match.group(1) for name, match in matches.items() if match}, ()
    stated = {case.case: case.patient_id for case in found.cases}
    if all(stated.values()):
        return stated, ()
    if any(stated.values()):
        missing = [name for name, patient in stated.items() if not patient]
        raise UserError(f"patient_id is empty for {', '.join(missing[:5])}", where=found.root, next="Fill in all or none.")
    sentence = "nothing says whose a case is: each counts as its own patient (--patient REGEX or --patients CSV)"
    return {name: name for name in names}, (Notice(code="patients-unknown", sentence=sentence),)


def fold_of_case(found: FoundSet, patients: dict[str, str], *, table: Path | None) -> tuple[dict[str, int], tuple[Notice, ...]]:
    """Case → fold where the user or the source states it; empty where nobody does.

    Args:
        table: CSV with the columns case and fold; None for none.
    Raises: UserError for a case without a fold, a fold that is no whole number, or a patient in two folds.
    """
    names = [case.case for case in found.cases]
    if table is not None:
        texts, notices = _from_table(names, table, "fold", "--fold-of")
        wrong = {name: text for name, text in texts.items() if not text.isdigit()}
        if wrong:
            name, text = next(iter(wrong.items()))
            raise UserError(f"the fold of {name} is '{text}', not 0, 1, 2, ...", where=table)
        folds = {name: int(text) for name, text in texts.items()}
    else:
        folds = {case.case: case.fold for case in found.cases if case.fold is not None}
        notices = ()
        if folds and len(folds) < len(names):
            missing = [name for name in names if name not in folds]
            raise UserError(f"fold is empty for {', '.join(missing[:5])}", where=found.root, next="Fill in all or none.")
    of_patient: dict[str, set[int]] = {}
    for name, fold in folds.items():
        of_patient.setdefault(patients[name], set()).add(fold)
    split = {patient: sorted(several) for patient, several in of_patient.items() if len(several) > 1}
    if split:
        patient, several = next(iter(split.items()))
        what = f"{len(split)} patients stand in two folds, e.g. {patient} in {several}"
        raise UserError(what, where=table or found.root, next="Put all cases of a patient into one fold.")
    return folds, notices


def _from_table(names: list[str], table: Path, column: str, option: str) -> tuple[dict[str, str], tuple[Notice, ...]]:
    rows = read_table(table, ("case", column))
    stated: dict[str, str] = {}
    for row in rows:
        if stated.setdefault(row["case"], row[column]) != row[column]:
            raise UserError(f"{row['case']} has two values of {column}", where=table)
    missing = [name for name in names if not stated.get(name)]
    if missing:
        hint = nearest(missing[0], stated) if len(stated) < 1000 else ""
        what = f"{len(missing)} cases have no {column}: {', '.join(missing[:5])}{hint if len(missing) == 1 else ''}"
        raise UserError(what, where=table, next=f"{option} must list every case.")
    extra = [name for name in stated if name not in set(names)]
    notices: tuple[Notice, ...] = ()
    if extra:
        sentence = f"{len(extra)} rows name no case of this set and are ignored, e.g. {extra[0]}"
        notices = (Notice(code="rows-ignored", sentence=sentence, where=table.name),)
    return {name: stated[name] for name in names}, notices
