"""`unet augment`: a page from a manifest or an experiment, equal each time; or one line and no page."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_trainings import TINY, VALID, set_words, write_set
from PIL import Image

from pipeline.cli.main import main
from pipeline.training.experiment import Experiment, experiment_yaml
from pipeline.training.open_experiment import override


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set"))


def refused(capsys: pytest.CaptureFixture[str], page: Path, *arguments: object) -> str:
    assert main(["augment", *map(str, arguments), "-o", str(page)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("unet: ")
    assert not page.exists() and not list(page.parent.glob(".*.part*"))
    return lines[0]


def test_a_manifest_gives_a_page_and_says_how_often_each_distortion_is_drawn(manifest, tmp_path, capsys):
    page = tmp_path / "new folder" / "page.png"
    assert main(["augment", str(manifest), "-o", str(page), *set_words(TINY)]) == 0
    out = capsys.readouterr().out
    assert f"{page}: 2 of 2 training cases" in out
    assert "deformation 0.9, bias field 0.15, blur 0.1" in out  # the set is MR
    with Image.open(page) as picture:
        picture.load()
        assert picture.format == "PNG" and picture.width > 600 and picture.height > 1500


def test_an_experiment_gives_the_same_page_twice(manifest, tmp_path):
    experiment, pages = tmp_path / "e.yaml", [tmp_path / "a.png", tmp_path / "b.png"]
    made = override(Experiment(manifest=str(manifest)), VALID)
    experiment.write_text(experiment_yaml(made, {}, short=True), encoding="utf-8")
    for page in pages:
        assert main(["augment", str(experiment), "-o", str(page), "--set", "augmentation.flips=[columns]"]) == 0
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_slips_are_refused_in_one_line_and_nothing_is_left(manifest, tmp_path, capsys):
    page = tmp_path / "page.png"
    assert "does not end in .png" in refused(capsys, tmp_path / "page.jpg", manifest)
    assert "there is no such file or folder" in refused(capsys, page, manifest.with_name("maed.json"))
    line = refused(capsys, page, manifest, "--set", "augmentation.noise_probability=3", "--set", "augmentation.gama=[1,2]")
    assert "augmentation.gama is not a setting (did you mean gamma?)" in line
    assert "noise_probability must be 0 to 1, is 3" in line
    assert "fold 7 has no cases" in refused(capsys, page, manifest, "--fold", "7")


def test_what_a_training_would_refuse_is_refused(tmp_path, capsys):
    ct = write_set(tmp_path / "ct", modality="CT")
    setting = "augmentation.bias_field_probability=0.3"
    assert "4 of 4 cases are CT" in refused(capsys, tmp_path / "page.png", ct, "--set", setting)


def test_a_vanished_scan_is_named_and_no_page_is_left(tmp_path, capsys):
    made = write_set(tmp_path / "set")
    (tmp_path / "set" / "image_1.nii.gz").unlink()
    assert "image_1.nii.gz" in refused(capsys, tmp_path / "page.png", made, *set_words(TINY))


def test_a_page_that_cannot_be_written_is_one_line(manifest, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    page = tmp_path / "file" / "page.png"
    assert main(["augment", str(manifest), "-o", str(page), *set_words(TINY)]) == 2
    assert "cannot be written" in capsys.readouterr().err
