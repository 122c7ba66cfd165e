"""Small series, lists of them, and what a cohort leaves."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
from made_series import noise, save, volume_datasets

FIRST = 10_000_000  # numbers in a UID have no zeros in front
UID = "1.2.826.0.1.3680043.8.498"


def name_of(number: int) -> str:
    """Of the prediction folder of `write_series(..., number)`."""
    return f"series4_{FIRST + number}"


def write_series(folder: Path, number: int, **attributes: object) -> Path:
    """One series of 3 slices of 20x20, see `name_of`."""
    array = noise(3, 20, 20, seed=number)
    uid = {"series": f"{UID}.{FIRST + number}"}
    return save(volume_datasets(array, **uid, **attributes), folder / f"s{number}")


def write_list(file: Path, rows: Sequence[Sequence[object]], columns: Sequence[str] = ("path",)) -> Path:
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])
    return file


def save_nifti(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([-1.0, -1, 3, 1])), path)
    return path


def table_of(out: Path) -> dict[str, dict[str, str]]:
    """Name → row of cohort.csv."""
    with (out / "cohort.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len({row["name"] for row in rows}) == len(rows)
    return {row["name"]: row for row in rows}


def masks_of(out: Path) -> dict[str, bytes]:
    """Name of each visible folder → its mask's bytes."""
    return {path.parent.name: path.read_bytes() for path in out.glob("[!.]*/mask.nii.gz")}


def records_of(out: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in (out / ".units").glob("[!.]*.json")]


def started(*words: object, **variables: str) -> subprocess.Popen[str]:
    """`unet cohort WORDS...` in a process, and a session, of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "cohort", *map(str, words)],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
