"""`unet compare` on tiny runs: evaluated, compared, refused."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from made_runs import ONE, make_run, some_case, thresholding
from PIL import Image

from pipeline.cli import compare
from pipeline.cli.main import main
from pipeline.data.manifest import Case
from pipeline.data.normalise import Normalisation
from pipeline.data.slice_grid import Preprocessing
from pipeline.evaluation.table import CaseMasks, EvaluationTable
from pipeline.network.catalogue import build_network
from pipeline.training.checkpoint import save_checkpoint
from pipeline.training.run_folder import RunFolder

DOCS = Path(__file__).resolve().parents[2] / "docs" / "compare.md"
SHAPE = (8, 8, 4)
AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])
FOLDS: Mapping[str, int] = {"c0": 0, "c1": 0, "c2": 0, "c3": 1, "c4": 1}

Refused = Callable[..., str]


def write_case(root: Path, name: str, fold: int) -> Case:
    """A truth of 64 voxels; the image is 2 in 48 of them, 1 in the other 16, and 1 in 4 voxels beside."""
    truth, image = np.zeros((2, *SHAPE), np.int16)
    truth[:4, :4] = 1
    image[:4, :4] = 2
    image[:4, :4, int(name[1]) % 4] = 1
    image[6, 6] = 1
    (root / name).mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), root / name / "image.nii.gz")
    nibabel.save(nibabel.Nifti1Image(truth.astype(np.uint8), AFFINE), root / name / "label.nii.gz")
    case = some_case(name=name, patient=f"P-{name}")
    return replace(case, fold=fold, shape=SHAPE, spacing_mm=(1.0, 1.0, 3.0), image_sha256=(), label_sha256=())


def write_run(root: Path, name: str, *, at: float = 0.5, folds: Mapping[str, int] = FOLDS) -> RunFolder:
    """A run of fold 0 whose network marks what exceeds `at`."""
    data = root / "data"
    cases = [write_case(data, c, f) if not (data / c).is_dir() else replace(_known(c), fold=f) for c, f in folds.items()]
    run = make_run(
        root / name,
        table=ONE,
        network={"width": 4, "depth": 1},
        preprocessing=Preprocessing(normalisation=Normalisation(kind="none")),
        cases=cases,
        data_root=data,
    )
    state = build_network("original", run.experiment().network_settings(ONE, 1)).state_dict()
    save_checkpoint({"epoch": 1, "network": thresholding(state, at=at, head="softmax")}, run.best)
    return run


def _known(name: str) -> Case:
    return replace(
        some_case(name=name, patient=f"P-{name}"), shape=SHAPE, spacing_mm=(1.0, 1.0, 3.0), image_sha256=(), label_sha256=()
    )


def write_scores(folder: Path, names: str) -> None:
    """Perfect scores of some cases, as `unet evaluate` writes them."""
    truth = np.zeros(SHAPE, np.uint8)
    truth[:4, :4] = 1
    cases = [CaseMasks(name, f"P-{name}", truth, truth, AFFINE) for name in names.split()]
    EvaluationTable.from_cases(cases, ONE).write(folder)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    def run(*words: object) -> str:
        capsys.readouterr()
        assert main(["compare", *map(str, words)]) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1
        return said.err

    return run


def test_two_evaluated_runs_are_compared_as_counted_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A marks all 64 voxels and 4 beside them: Dice 128/132. B marks 48 of them and nothing else: 96/112."""
    a, b = write_run(tmp_path, "a", at=0.5), write_run(tmp_path, "b", at=1.5)
    for run in (a, b):
        assert main(["evaluate", str(run.path)]) == 0
    capsys.readouterr()
    page, picture, numbers = (tmp_path / f"out/it.{kind}" for kind in ("html", "png", "json"))
    words = ["-o", str(page), "--picture", str(picture), "--json", str(numbers)]
    assert main(["compare", str(a.path), str(b.path), *words]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == [f"{path} written" for path in (numbers, page, picture)]
    row = next(line.split() for line in out.splitlines() if line.startswith("Dice"))
    assert row[2:8] == ["organ", "3", "0", "0.970", "0.857", "-0.113"]
    assert row[-5:] == ["0.250", "0.250", "0", "3", "0"]  # three patients of one sign: p = 2 / 8
    assert "the interval leaves out 0, but the test does not confirm it" in out
    data = json.loads(numbers.read_text())
    assert data["differences"][0]["difference"] == pytest.approx(96 / 112 - 128 / 132)
    text = page.read_text()
    assert "<script" not in text and "src=" not in text and text.count("<circle") == 3 + 3  # the cases, and the legend
    with Image.open(picture) as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20) or []}
        assert image.width == 1720 and (217, 72, 15) in colours  # dots of what got worse


def test_a_run_without_scores_is_answered_with_the_command(tmp_path: Path, refused: Refused) -> None:
    a, b = write_run(tmp_path, "a"), write_run(tmp_path, "b b")
    write_scores(a.scores, "c0 c1 c2")
    assert f"{b.path}: the run has no scores yet. Type: unet evaluate '{b.path}'" in refused(a.path, b.path)
    b.note({"fold": None})
    assert "It was trained on all cases, so only others can judge it" in refused(a.path, b.path)


def test_a_run_that_does_not_say_its_fold_is_refused(tmp_path: Path, refused: Refused) -> None:
    a, b = write_run(tmp_path, "a"), write_run(tmp_path, "b")
    for run in (a, b):
        write_scores(run.scores, "c0 c1 c2")
    for content in ("{}", "[]", '{"fold": "left"}'):
        b.run_file.write_text(content)
        assert "run.json: does not say which fold was trained" in refused(a.path, b.path / "scores/scores.json")


def test_a_run_trained_on_all_cases_is_a_leak_whoever_scored_it(tmp_path: Path, refused: Refused) -> None:
    a, b = write_run(tmp_path, "a"), write_run(tmp_path, "b")
    b.note({"fold": None})
    for run in (a, b):
        write_scores(run.scores, "c0 c1 c2")
    said = refused(a.path, b.path / "scores/scores.json")
    assert "was trained on 3 of the 3 compared cases or on their patients: c0, c1, c2 (a leak" in said


def test_two_folds_are_refused_with_what_each_learned(tmp_path: Path, refused: Refused) -> None:
    a, b = write_run(tmp_path, "a"), write_run(tmp_path, "b")
    b.note({"fold": 1})
    write_scores(a.scores, "c0 c1 c2")
    write_scores(b.scores, "c3 c4")
    said = refused(a.path, b.path, "--json", tmp_path / "no.json")
    assert f"{b.path} shares no case with {a.path}" in said
    assert f"{b.path} was trained on 3 of the patients that {a.path} was scored on" in said
    assert not (tmp_path / "no.json").exists()


def test_runs_of_two_manifests_are_refused(tmp_path: Path, refused: Refused) -> None:
    a, b = write_run(tmp_path, "a"), write_run(tmp_path, "b", folds={**FOLDS, "c4": 2})
    for run in (a, b):
        write_scores(run.scores, "c0 c1 c2")
    assert "belongs to another data set than" in refused(a.path, b.path)


def test_a_manifest_that_was_edited_says_nothing_about_the_training(tmp_path: Path, refused: Refused) -> None:
    a, b = write_run(tmp_path, "a"), write_run(tmp_path, "b")
    for run in (a, b):
        write_scores(run.scores, "c0 c1 c2")
    b.note({"manifest_digest": "0" * 64})
    assert "manifest.json: has changed since the run began" in refused(a.path, b.path)


def test_scores_of_any_tool_are_compared_with_a_word_that_their_training_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write_run(tmp_path, "a")
    write_scores(a.scores, "c0 c1 c2")
    write_scores(tmp_path / "other", "c0 c1 c2 c3")
    assert main(["compare", str(a.path), str(tmp_path / "other")]) == 0
    out = capsys.readouterr().out
    assert f"note: {tmp_path}/other: scores without a run" in out and "1 of its 4 cases are not in all runs" in out
    assert "no case differs" in out


def test_scores_older_than_the_weights_get_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write_run(tmp_path, "a"), write_run(tmp_path, "b")
    for run in (a, b):
        write_scores(run.scores, "c0 c1 c2")
    os.utime(b.best, (2**31, 2**31))
    assert main(["compare", str(a.path), str(b.path)]) == 0
    assert f"{b.path}: its scores are older than its best checkpoint; unet evaluate {b.path}" in capsys.readouterr().out


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Score folders without runs."""
    for name in "ab":
        write_scores(tmp_path / name, "c0 c1")
    return tmp_path / "a", tmp_path / "b"


def test_a_run_named_twice_under_two_names_is_refused(two: tuple[Path, Path], refused: Refused) -> None:
    (two[0].parent / "link").symlink_to(two[0])
    assert "is named twice" in refused(two[0], two[1], two[0].parent / "link")
    assert "one run alone cannot be compared" in refused(two[0])


def test_a_result_never_takes_the_place_of_what_is_compared(two: tuple[Path, Path], refused: Refused) -> None:
    before = (two[0] / "scores.json").read_bytes()
    said = refused(*two, "--json", two[0] / "scores.json", "--overwrite")
    assert "is one of the files that are compared" in said and (two[0] / "scores.json").read_bytes() == before


def test_wrong_results_are_told_all_at_once_before_anything_is_written(two: tuple[Path, Path], refused: Refused) -> None:
    there = two[0].parent / "there.html"
    there.write_text("mine")
    said = refused(*two, "-o", there, "--picture", two[0] / "it.jpg", "--json", two[0])
    assert f"{there} is there already (--overwrite replaces it)" in said
    assert "it.jpg' does not end in .png" in said and f"{two[0]} is a folder" in said
    assert there.read_text() == "mine" and not (two[0] / "it.jpg").exists()


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("scores.csv", "is not a JSON file"),
        ("validation.json", "is no scores.json"),
        ("nothing", "is neither a run folder (no run.json) nor holds a scores.json"),
        ("score.json", "there is no such file or folder. Did you mean"),
    ],
)
def test_what_looks_like_scores_and_is_none_is_refused(two: tuple[Path, Path], refused: Refused, file: str, said: str) -> None:
    (two[0] / "validation.json").write_text('{"grid": "as the network sees it", "mean": {}, "cases": []}')
    (two[0] / "nothing").mkdir()
    assert said in refused(two[1], two[0] / file)


def test_a_full_disk_is_one_line_and_leaves_no_half_of_a_picture(
    two: tuple[Path, Path], refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    picture = two[0].parent / "new/it.png"
    assert f"{picture}: cannot be written (No space left on device)" in refused(*two, "--picture", picture)
    assert list(picture.parent.iterdir()) == []


def test_names_of_others_send_no_commands_to_the_terminal(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    write_scores(two[0], "c0 \x1b[2J")
    write_scores(two[1], "c0 \x1b[2J")
    file = two[1] / "scores.json"
    data = json.loads(file.read_text())
    for row in data["rows"]:  # the prediction misses everything, so that its cases are named
        row |= {"tp": 0, "fn": row["tp"], "dice": 0, "iou": 0, "precision": 0, "recall": 0}
        row["accuracy"] = round(row["tn"] / (row["tn"] + row["fn"]), 6)
    file.write_text(json.dumps(data))
    assert main(["compare", *map(str, two)]) == 0
    out = capsys.readouterr().out
    assert "?[2J -1.000 (1.000 to 0.000)" in out and "\x1b" not in out


def test_the_page_of_the_guide_names_every_option_and_its_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    compare.add_arguments(parser)
    text = DOCS.read_text(encoding="utf-8")
    options = [o for action in parser._actions for o in action.option_strings if o.startswith("--")]
    assert [o for o in options if o not in text and o not in ("--help", "--out")] == []
    for name in ("base", "wider"):
        write_scores(tmp_path / "runs" / name, "c0 c1")
    monkeypatch.chdir(tmp_path)
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), {})
    assert "organ 0.0 0.0 0.0" in capsys.readouterr().out
