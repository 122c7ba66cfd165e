"""Cases from a CSV file (image, label, ...), and CSV tables in general. Reads no image."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import Notice, UserError, nearest, sentences
from ..io.paths import existing
from .dataset_json import modality_code
from .found import FoundCase, FoundSet, stem

CSV_COLUMNS = ("image", "label", "case", "patient_id", "fold", "modality", "series", "volume")


def read_table(path: Path | str, needed: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a head line. Raises: UserError that names a missing column, or the nearest that is there."""
    path = existing(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:  # Excel puts a mark in front
            sample = stream.read(4096)
            stream.seek(0)
            delimiter = ";" if sample.split("\n")[0].count(";") > sample.split("\n")[0].count(",") else ","
            rows = [
                {k.strip(): (v or "").strip() for k, v in row.items() if k}
                for row in csv.DictReader(stream, delimiter=delimiter)
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"is not a CSV file ({error})", where=path, next="Save the table as CSV in UTF-8.") from error
    columns = list(rows[0]) if rows else []
    for name in needed:
        if name not in columns:
            raise UserError(f"the column {name} is missing{nearest(name, columns) if columns else ''}", where=path)
    return rows


def cases_from_csv(source: Path) -> FoundSet:
    rows = read_table(source, ("image", "label"))
    cases, problems = [], []
    for number, row in enumerate(rows, start=2):
        image, label = (_listed(row[key], source.parent) for key in ("image", "label"))
        problems += [f"line {number}: {p} does not exist" for p in (*image, *label) if not p.exists()]
        if not image or not label:
            problems.append(f"line {number}: image and label must not be empty")
            continue
        fold = row.get("fold", "")
        if fold and not fold.isdigit():
            problems.append(f"line {number}: fold must be 0, 1, ..., is '{fold}'")
        cases.append(
            FoundCase(
                case=row.get("case") or stem(image[0]),
                image=image,
                label=label,
                patient_id=row.get("patient_id", ""),
                fold=int(fold) if fold.isdigit() else None,
                modality=modality_code(row.get("modality", "")),
                series=row.get("series", ""),
                volume=row.get("volume", ""),
            )
        )
    if problems:
        raise UserError(sentences(problems, 5), where=source, next="Paths are relative to the CSV file.")
    files = [path for case in cases for path in (*case.image, *case.label)]
    ignored = sorted(set(rows[0]) - set(CSV_COLUMNS))
    notices = (Notice(code="columns-ignored", sentence=f"columns not used: {', '.join(ignored)}", where=source.name),)
    return FoundSet(
        kind=f"CSV file of {len(rows)} rows",
        root=_common_root(source.parent, files),
        cases=tuple(cases),
        notices=notices if ignored else (),
    )


def _listed(text: str, folder: Path) -> tuple[Path, ...]:
    """'a.nii.gz|b.nii.gz' → both, relative to the CSV's folder."""
    return tuple(Path((folder / part.strip()).absolute()) for part in text.split("|") if part.strip())


def _common_root(folder: Path, files: list[Path]) -> Path:
    """The CSV's own folder where it holds every file, else the deepest folder that does."""
    return Path(os.path.commonpath([folder.absolute(), *(os.path.normpath(file) for file in files)]))
