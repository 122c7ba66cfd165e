"""Read the scores.json that an evaluation wrote. Judges every row; knows nothing of run folders."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError, sentences
from ..io.paths import existing
from ..labels import label_table_from_json
from .counts import Counts
from .scores import SCORES, Scores, scores
from .surface import SurfaceScores
from .table import EvaluationTable, Row

WRITTEN_TO = 1e-6  # the file's numbers have six decimals; a stated score further off than this is not that of its counts
SHOWN = 5  # problems in one message


def read_scores(path: Path | str) -> EvaluationTable:
    """The inverse of `EvaluationTable.write`; the ratios are computed anew from the counts, without the file's rounding.

    Args:
        path: a scores.json.
    Raises: UserError for another kind of file, or with all rows that are missing, doubled or contradict themselves.
    """
    path = existing(path)
    data = _object(path)
    table = label_table_from_json(data["label_table"], where=str(path))
    problems: list[str] = []
    rows: list[Row] = []
    for number, entry in enumerate(data["rows"], start=1):
        try:
            rows.append(_row(entry))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problems.append(f"row {number}: {error.args[0] if isinstance(error, ValueError) else repr(error)}")
    problems += _not_one_each(rows, table.names) if not problems else []
    problems += [] if rows or problems else ["no case is scored in it"]
    manifest, fold = data.get("manifest_digest"), data.get("fold")  # files of the first versions have neither
    problems += [] if manifest is None or isinstance(manifest, str) else [f"manifest_digest is {manifest!r}, no text"]
    problems += [] if fold is None or fold == "all" or _is_fold(fold) else [f"fold is {fold!r}, neither a number nor 'all'"]
    if problems:
        raise UserError(sentences(problems, SHOWN), where=path, next="Score again: 'unet evaluate' writes the file.")
    return EvaluationTable(
        table=table, rows=tuple(rows), tolerance_mm=data["nsd_tolerance_mm"], manifest=manifest or "", fold=fold
    )


def _is_fold(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _object(path: Path) -> Mapping[str, Any]:
    """The file's JSON, of the right shape on its top level."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"is not a JSON file ({error})", where=path, next="'unet evaluate' writes scores.json.") from error
    kinds: Mapping[str, Any] = {"label_table": dict, "rows": list, "nsd_tolerance_mm": (int, float)}
    if not isinstance(data, dict) or not all(isinstance(data.get(key), kind) for key, kind in kinds.items()):
        what = f"is no scores.json: {', '.join(kinds)} must stand in it"
        raise UserError(what, where=path, next="'unet evaluate' writes one.")
    return data


def _row(entry: Mapping[str, Any]) -> Row:
    """Raises: ValueError with a sentence, KeyError or TypeError for what is no row."""
    case, patient, structure = (_text(entry, key) for key in ("case", "patient_id", "structure"))
    where = f"{case}, {structure}"
    tp, fp, fn, tn = (_whole(entry, key, where) for key in ("tp", "fp", "fn", "tn"))
    computed = scores(Counts(tp=[tp], fp=[fp], fn=[fn], tn=[tn]))[0]  # type: ignore[arg-type]
    _refuse_contradiction(entry, computed, where)
    hd95_mm, nsd, truth_ml, predicted_ml = (
        _number(entry, key, where, most=most)
        for key, most in (("hd95_mm", math.inf), ("nsd", 1.0), ("truth_ml", math.inf), ("predicted_ml", math.inf))
    )
    return Row(
        case=case,
        patient_id=patient,
        structure=structure,
        tp=tp,
        fp=fp,
        fn=fn,
        tn=tn,
        scores=computed,
        surface=SurfaceScores(hd95_mm=hd95_mm, nsd=nsd),
        truth_ml=truth_ml,
        predicted_ml=predicted_ml,
    )


def _refuse_contradiction(entry: Mapping[str, Any], computed: Scores, where: str) -> None:
    for name in SCORES:
        stated, counted = _number(entry, name, where, most=1.0), getattr(computed, name)
        if (stated is None) != (counted is None) or abs((stated or 0.0) - (counted or 0.0)) > WRITTEN_TO:
            raise ValueError(f"{where}: {name} is {_said(stated)}, its voxel counts give {_said(counted)}")


def _not_one_each(rows: list[Row], names: tuple[str, ...]) -> list[str]:
    """Every case has each structure of the table once, and one patient."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.case, []).append(row)
    problems = []
    for case, of_case in found.items():
        if sorted(row.structure for row in of_case) != sorted(names):
            have = ", ".join(row.structure for row in of_case)
            problems.append(f"{case} has rows for {have}; needed is one each for {', '.join(names)}")
        if len({row.patient_id for row in of_case}) > 1:
            problems.append(f"{case} belongs to several patients")
    return problems


def _text(entry: Mapping[str, Any], key: str) -> str:
    if not isinstance(entry[key], str) or not entry[key]:
        raise ValueError(f"{key} is {entry[key]!r}, no name")
    return str(entry[key])


def _whole(entry: Mapping[str, Any], key: str, where: str) -> int:
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(f"{where}: {key} is {value!r}, no count of voxels")
    return value


def _number(entry: Mapping[str, Any], key: str, where: str, *, most: float) -> float | None:
    value = entry[key]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= most:
        raise ValueError(f"{where}: {key} is {value!r}, not within 0 and {most:g}")
    return float(value)


def _said(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.6f}"
