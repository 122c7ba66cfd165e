"""Settings of distortions pass the gate of experiments: pairs and ranges as YAML writes them, and files of earlier versions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_trainings import TINY, write_set

from pipeline.data.augmentation import Augmentation
from pipeline.errors import UserError
from pipeline.training.experiment import Experiment, experiment_yaml, read_experiment
from pipeline.training.open_experiment import override
from pipeline.training.train import train


def read(tmp_path: Path, text: str) -> Experiment:
    (tmp_path / "e.yaml").write_text(text, encoding="utf-8")
    return read_experiment(tmp_path / "e.yaml")


def test_pairs_and_ranges_are_written_and_read_as_they_are(tmp_path):
    settings = Augmentation(
        flips=("columns",), flip_pairs=(("eye l", "eye r"), ("lung, left", "lung: right")), gamma=(1.0, 2.0)
    )
    experiment = Experiment(augmentation=settings)
    assert read(tmp_path, experiment_yaml(experiment, {})) == experiment


def test_pairs_and_ranges_may_be_written_by_hand(tmp_path):
    made = read(tmp_path, "augmentation:\n  flip_pairs: [[a, b], [c, d]]\n  gamma: [1, 2]\n").augmentation
    assert made.flip_pairs == (("a", "b"), ("c", "d")) and made.gamma == (1.0, 2.0)


@pytest.mark.parametrize("value", ["[a, b]", "[[a, b, c]]", "[[a, 1]]", "ab", "[[a]]"])
def test_what_is_no_list_of_pairs_is_refused(tmp_path, value):
    with pytest.raises(UserError, match=r"augmentation\.flip_pairs must be a list"):
        read(tmp_path, f"augmentation:\n  flip_pairs: {value}\n")


def test_a_file_from_before_each_intensity_had_its_own_probability_is_read(tmp_path):
    made = read(tmp_path, "augmentation:\n  rotation_deg: 20\n  intensity_probability: 0.4\n").augmentation
    assert (made.noise_probability, made.blur_probability, made.low_resolution_probability) == (0.4, 0.2, 0.0)
    with pytest.raises(UserError, match=r"noise_probability must be 0 to 1, is 2"):
        read(tmp_path, "augmentation:\n  intensity_probability: 2\n")


def test_one_word_leaves_all_intensities_alone():
    planned = replace(Experiment(), augmentation=Augmentation(bias_field_probability=0.15))
    assert override(planned, {"augmentation.intensity_probability": 0}).augmentation.drawn == ("deformation",)


def test_flips_that_would_teach_a_wrong_side_end_a_training_before_it_begins(tmp_path):
    from pipeline.labels import label_table

    manifest = write_set(tmp_path, label_table({"kidney left": 1, "kidney right": 2}))
    sided = {**TINY, "augmentation.flips": ["columns"], "preprocessing.plane": "axial"}
    with pytest.raises(UserError, match=r"flip_pairs: \[\[kidney left, kidney right\]\]"):
        train(manifest, tmp_path / "run", settings=sided)
    assert not (tmp_path / "run").exists()
