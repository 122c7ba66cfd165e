"""56 real and trapped DICOM series: each lies in millimetres where its headers put it, or is refused with the reason."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from pipeline.cli.main import main

SHARED = Path(os.environ.get("UNET_SHARED", Path(__file__).resolve().parents[3] / "shared"))
LIST = SHARED / "dicom" / "cases.json"
CASES = json.loads(LIST.read_text(encoding="utf-8")) if LIST.exists() else []


def cases(expect: str) -> list[object]:
    return [pytest.param(case, id=case["case"]) for case in CASES if case["expect"] == expect]


@cache
def scorer() -> ModuleType:
    """The scorer decides from the DICOM files alone; it is no part of this project."""
    spec = importlib.util.spec_from_file_location("score_geometry", SHARED / "tools" / "score_geometry.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def verdict(case: dict, file: Path, volume: int = 0) -> str:
    return scorer().score(SHARED / "dicom", case["case"], file, volume)["verdict"]


def test_the_cases_are_there(shared: Path) -> None:
    assert len(CASES) == 56


@pytest.mark.parametrize("case", cases("exact"))
def test_every_voxel_is_in_its_place(case: dict, tmp_path: Path) -> None:
    assert main(["convert", str(SHARED / "dicom" / case["folder"]), str(tmp_path / "a.nii.gz")]) == 0
    assert verdict(case, tmp_path / "a.nii.gz") == "exact"


@pytest.mark.parametrize("case", cases("regrid"))
def test_a_tilted_series_is_moved_slice_by_slice(case: dict, tmp_path: Path) -> None:
    assert main(["convert", str(SHARED / "dicom" / case["folder"]), str(tmp_path / "a.nii.gz")]) == 0
    assert verdict(case, tmp_path / "a.nii.gz") in ("regrid", "exact")


@pytest.mark.parametrize("case", cases("refuse"))
def test_what_cannot_be_right_is_refused_with_the_reason(
    case: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(SHARED / "dicom" / case["folder"]), str(tmp_path / "a.nii.gz")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    reason = line.replace(case["folder"], "")  # the folder's name gives the reason away
    assert any(word.lower() in reason.lower() for word in case["reason_any_of"]), line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("case", cases("choose"))
def test_several_volumes_are_listed_and_each_can_be_named(
    case: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = str(SHARED / "dicom" / case["folder"]), tmp_path / "a.nii.gz"
    assert main(["convert", folder, str(out)]) == 2
    line = capsys.readouterr().err
    assert not out.exists() and line.count("\n") == 1
    rows = line.strip().split(" | ")[1:]
    assert len(rows) == len(case["volumes"])
    matched = []
    for row in rows:
        series = re.search(r"\((\d+)\)", row)
        name = re.search(r'volume "(.+)"', row)
        words = ["--series", series[1] if series else "", *(["--volume", name[1]] if name else [])]
        assert main(["convert", folder, str(out), "--overwrite", *words]) == 0
        matched += [k for k in range(len(rows)) if verdict(case, out, k) == "exact"]
    assert sorted(matched) == list(range(len(rows)))
