"""56 real and trapped DICOM series: each lies in millimetres where its headers put it, or is refused with the reason."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pytest
from monai.transforms import LoadImage

from pipeline.io.monai_reader import VolumeReader
from pipeline.io.read import read_volume
from pipeline.io.regrid import orthogonal

Unet = Callable[..., subprocess.CompletedProcess[str]]

SHARED = Path(os.environ.get("UNET_SHARED", Path(__file__).resolve().parents[3] / "shared"))
LIST = SHARED / "dicom" / "cases.json"
CASES = json.loads(LIST.read_text(encoding="utf-8")) if LIST.exists() else []


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


@pytest.mark.parametrize("case", [pytest.param(case, id=case["case"]) for case in CASES])
def test_a_case_ends_as_it_must(case: dict, unet: Unet, tmp_path: Path) -> None:
    """Through the command, as a user types it."""
    judge = {"exact": lies_right, "regrid": lies_right, "refuse": is_refused, "choose": can_be_chosen}[case["expect"]]
    judge(case, unet, tmp_path / "a.nii.gz")


def lies_right(case: dict, unet: Unet, out: Path) -> None:
    folder = SHARED / "dicom" / case["folder"]
    assert unet("convert", folder, out).returncode == 0
    assert verdict(case, out) in (("exact",) if case["expect"] == "exact" else ("regrid", "exact"))
    is_the_same_everywhere(folder, out)


def is_refused(case: dict, unet: Unet, out: Path) -> None:
    answer = unet("convert", SHARED / "dicom" / case["folder"], out)
    assert answer.returncode == 2
    line = refusal(answer)
    reason = line.replace(case["folder"], "")  # the folder's name gives the reason away
    assert any(word.lower() in reason.lower() for word in case["reason_any_of"]), line
    assert list(out.parent.iterdir()) == []


def can_be_chosen(case: dict, unet: Unet, out: Path) -> None:
    folder = SHARED / "dicom" / case["folder"]
    answer = unet("convert", folder, out)
    assert answer.returncode == 2 and not out.exists()
    rows = refusal(answer).strip().split(" | ")[1:]
    assert len(rows) == len(case["volumes"])
    matched = []
    for row in rows:
        series, name = re.search(r"\((\d+)\)", row), re.search(r'volume "(.+?)"', row)
        named = {"series": series[1] if series else "", "volume": name[1] if name else ""}
        words = [word for key, value in named.items() if value for word in (f"--{key}", value)]
        assert unet("convert", folder, out, *words, "--overwrite").returncode == 0
        matched += [k for k in range(len(rows)) if verdict(case, out, k) == "exact"]
        is_the_same_everywhere(folder, out, **named)
    assert sorted(matched) == list(range(len(rows)))


def refusal(answer: subprocess.CompletedProcess[str]) -> str:
    """The one line; a progress bar draws over itself and is no line."""
    lines = [line for line in answer.stderr.splitlines() if line.startswith("unet: ")]
    assert len(lines) == 1, answer.stderr
    return lines[0]


def is_the_same_everywhere(folder: Path, out: Path, **named: str) -> None:
    """`read_volume` and the MONAI reader give the volume that the command wrote."""
    volume = read_volume(folder, **named)
    written, flat = nibabel.load(out), orthogonal(volume)
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), flat.array)
    np.testing.assert_allclose(written.affine, flat.affine, atol=1e-4)
    by_monai = LoadImage(reader=VolumeReader(**named), image_only=True)(folder)
    np.testing.assert_array_equal(by_monai.numpy(), volume.array.astype(np.float32))
    np.testing.assert_allclose(by_monai.affine.numpy(), volume.affine, atol=1e-4)
