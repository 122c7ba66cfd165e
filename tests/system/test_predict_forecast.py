"""`unet predict` on a terminal, foretold, and in little memory."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import nibabel
import numpy as np
import pytest
from made_runs import make_bundle
from made_series import save, volume_datasets

from pipeline.bundle.bundle import Bundle
from pipeline.cli.main import main

# At its end, a process says the most memory it held.
PREDICT = """
import sys
from pipeline.cli.main import main
from pipeline.process import peak_bytes
code = main(["predict", *sys.argv[1:]])
print("PEAK", peak_bytes())
sys.exit(code)
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    network = {"padding": "valid", "width": 16, "depth": 4}
    return make_bundle(tmp_path_factory.mktemp("made"), modality="CT", network=network)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    soft = np.random.default_rng(0).integers(900, 1400, (10, 200, 220))
    return save(volume_datasets(soft), tmp_path_factory.mktemp("series"))


def ran(*words: object) -> str:
    done = subprocess.run([sys.executable, "-c", PREDICT, *map(str, words)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def peak(text: str) -> float:
    return float(text.rpartition("PEAK ")[2]) / 1e9


def test_the_forecast_holds_and_writes_nothing(bundle: Bundle, series: Path, tmp_path: Path) -> None:
    words = (bundle.path, series, "-o", tmp_path / "out", "--runtime", "torch", "--precision", "fp32")
    told = ran(*words, "--dry-run")
    assert not (tmp_path / "out").exists()
    assert re.search(r"^series4_\d+: 220 x 200 x 10 voxels\n  time    [\d.]+ s: reading [\d.]+ s, network", told)
    assert "(10 slices of " in told
    memory = re.search(r"^memory    ([\d.]+) GB$", told, re.MULTILINE)
    assert memory
    assert peak(ran(*words)) == pytest.approx(float(memory[1]), rel=0.25)


def test_what_would_be_refused_is_refused_by_the_forecast_and_the_rest_is_foretold(
    bundle: Bundle, series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", str(bundle.path), str(tmp_path / "nowhere"), str(series), "-o", str(tmp_path / "out"), "--dry-run"]
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert "nowhere" in err and len(err.strip().splitlines()) == 1
    assert "220 x 200 x 10 voxels" in out and "\nall  " in out


def test_a_limit_of_memory_is_kept_and_one_that_cannot_be_is_refused(bundle: Bundle, series: Path, tmp_path: Path) -> None:
    words = (bundle.path, series, "-o", tmp_path / "out", "--runtime", "torch", "--precision", "fp32", "--no-seg")
    assert peak(ran(*words, "--max-ram", "1.2G")) < 1.2
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, *map(str, words), "--overwrite", "--max-ram", "200M"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert re.fullmatch(
        rf"unet: {re.escape(str(series))}: needs [\d.]+ GB even with the smallest tiles, more than 0\.2 GB\. "
        r"Give --max-ram [\d.]+G where the machine has it\.\n",
        done.stderr,
    )


@pytest.mark.parametrize("size", ["4", "4X", "-1G", "0G", "nanG"])
def test_a_limit_that_is_no_size_is_one_line(size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "bundle", "scan", "-o", str(tmp_path), f"--max-ram={size}"]) == 2
    assert f"unet: --max-ram: '{size}' is not a size of memory. Examples: 8G, 500M." in capsys.readouterr().err


def test_on_a_terminal_one_bar_says_which_input_what_is_done_and_how_long_it_takes(bundle: Bundle, tmp_path: Path) -> None:
    files = []
    for name in ("first", "second"):
        files.append(tmp_path / f"{name}.nii.gz")
        array = np.random.default_rng(0).normal(50, 150, (24, 20, 5)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(array, np.diag([-1.0, -1, 3, 1])), files[-1])
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    words = [sys.executable, "-m", "pipeline", "predict", bundle.path, *files, tmp_path / "nothing", "-o", tmp_path / "out"]
    with subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            seen += part
        out = process.stdout.read().decode()  # type: ignore[union-attr]
    os.close(ours)
    text = seen.decode()
    assert process.returncode == 2
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [
        str(tmp_path / "out" / n) for n in ("first", "second")
    ]
    for words_on_bar in ("1 of 3, reading", "1 of 3, first: slice 5 of 5", "2 of 3, second: writing", "3 of 3, reading"):
        assert words_on_bar in text
    assert "unet: " in text and "nothing" in text
    assert re.search(r"3 of 3, reading +67 %\|.*\d\d:\d\d<\d\d:\d\d", text)
