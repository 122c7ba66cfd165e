"""`unet plan` as a user types it: a short file with reasons, a forecast that holds, and one line for every slip."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from made_trainings import TINY, set_words, write_set

from pipeline.cli.main import main
from pipeline.training.experiment import Experiment, read_experiment
from pipeline.training.run_folder import RunFolder

# At its end, a process says the most memory it held.
TRAIN = """
import sys
from pathlib import Path
from pipeline.cli.main import main
from pipeline.process import peak_bytes
code = main(sys.argv[1:])
print("PEAK", peak_bytes())
sys.exit(code)
"""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(autouse=True)
def mlflow_apart(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.getbasetemp()}/plan_command.db")


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["plan", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    line = err.strip().splitlines()[-1]
    assert line.startswith("unet: ")
    return line


def gigabytes(text: str, after: str) -> float:
    found = re.search(rf"{after} ([\d.]+) GB", text)
    assert found, text
    return float(found[1])


def test_a_plan_is_written_with_a_forecast_that_holds_edited_and_trained(manifest, tmp_path, capsys):
    file = tmp_path / "plans" / "mine.yaml"
    settings = {"steps_per_epoch": 10, "batch_size": 12, "threads": 1, "workers": 1}
    assert main(["plan", str(manifest), "--time-budget", "20m", *set_words(settings), "-o", str(file)]) == 0
    out = capsys.readouterr().out
    assert f"next         unet train {file} --time-budget 20m -o runs/mine" in out
    assert re.search(r"an epoch +[\d.]+ s: 10 steps of [\d.]+ s \(measured\), [\d.]+ s to validate 2 cases", out)
    assert re.search(r"in all +20 min give about \d+ epochs", out)
    text = file.read_text(encoding="utf-8")
    assert_short(file)
    assert "  # 2 cases, 2 of them read: MR, median 40 x 36 x 6 voxels of 1 x 1.2 x 4 mm; organ " in text
    assert "padding: same  # slices of 37 x 39 px are smaller than the 184 px that valid ones lose" in text
    file.write_text(text.replace("name: made", "name: edited"), encoding="utf-8")

    command = [sys.executable, "-c", TRAIN, "train", str(file), "--epochs", "1", "-o", str(tmp_path / "run")]
    trained = subprocess.run(command, capture_output=True, text=True)
    assert trained.returncode == 0, trained.stderr
    assert RunFolder(path=tmp_path / "run").experiment().name == "edited"
    peak_gb = int(trained.stdout.split("PEAK ")[1]) / 1e9
    assert gigabytes(out, "training") == pytest.approx(peak_gb, rel=0.25, abs=0.05)
    assert "mine.yaml: is there already" in refused(capsys, manifest, "-o", file)


def assert_short(file: Path) -> None:
    """The file holds what has a reason or is not usual, and nothing else."""
    experiment, usual, text = read_experiment(file), Experiment(), file.read_text(encoding="utf-8")
    for name in set(yaml.safe_load(text)) - {"network", "preprocessing", "augmentation", "loss"}:
        line = next(line for line in text.splitlines() if line.startswith(f"{name}: "))
        assert "  # " in line or getattr(experiment, name) != getattr(usual, name), line
    assert "weight_decay" not in text and "momentum" not in text
    assert len([line for line in text.splitlines() if "  # " in line]) > 12


def test_what_fits_into_no_memory_is_refused_with_what_is_needed(manifest, tmp_path, capsys):
    line = refused(capsys, manifest, *set_words(TINY), "--max-ram", "200M", "-o", tmp_path / "plan.yaml")
    assert re.search(r"--max-ram: the smallest training of this kind needs \d\.\d GB, more than 0\.2 GB", line)
    assert re.search(r"Give --max-ram \d\.\dG where the machine has it\.", line)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--max-ram", "8"], "--max-ram: '8' is not a size of memory. Examples: 8G, 500M."),
        (["--max-ram", "0G"], "--max-ram: '0G' is not a size of memory."),
        (["--max-ram", "nanG"], "--max-ram: 'nanG' is not a size of memory."),
        (["--fold", "9"], "fold 9 has no cases. Folds here: 0, 1; 'none' trains on all cases."),
        (["--time-budget", "soon"], "--time-budget: 'soon' is not a time."),
        (["--set", "network.widht=3"], "network.widht is not a setting (did you mean width?)"),
        (["--set", "preprocessing.plane=coronl"], "preprocessing.plane must be one of axial, coronal, sagittal, stored"),
        (["-o", "plan.json"], "-o: a plan is an experiment file (.yaml), not plan.json"),
        (["--data", "nowhere"], "nowhere: there is no such file or folder"),
    ],
)
def test_slips_are_answered_in_one_line(manifest, capsys, arguments, answer):
    assert answer in refused(capsys, manifest, *arguments)


def test_an_experiment_is_not_planned_anew(tmp_path, capsys):
    file = tmp_path / "e.yaml"
    file.write_text("name: mine\n", encoding="utf-8")
    assert "e.yaml: is planned already" in refused(capsys, file, "-o", tmp_path / "other.yaml")
    assert "e.yaml: is planned already" in refused(capsys, file, "--max-ram", "8G")
