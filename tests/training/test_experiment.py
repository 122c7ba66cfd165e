"""The one gate of settings: everything wrong at once, the nearest name, the same file back, a page that names each setting."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import get_type_hints

import pytest

from pipeline.data.augmentation import Augmentation
from pipeline.data.normalise import Normalisation
from pipeline.data.slice_grid import Preprocessing
from pipeline.errors import UserError
from pipeline.labels import label_table
from pipeline.training.experiment import Experiment, NetworkSettings, experiment_from, experiment_yaml, read_experiment
from pipeline.training.loss import LossSettings
from pipeline.training.open_experiment import override

UNUSUAL = Experiment(
    name="yes: a 'name' with # and ü",
    manifest="../data/some set.json",
    network=NetworkSettings(width=3, depth=2, padding="same", normalization="batch", dropout=0.0, head="sigmoid"),
    preprocessing=Preprocessing(
        plane="coronal", spacing_mm=4e-06, neighbours=2, normalisation=Normalisation(kind="window", low=-1e3, high=0.5)
    ),
    augmentation=Augmentation(flips=("rows", "columns"), elastic_px=0.0),
    patch=(64, 48),
    learning_rate=1e-5,
    optimizer="sgd",
)


def every_setting(cls: type, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted name and default of each setting, parts of parts included."""
    hints, default = get_type_hints(cls), cls()
    for one in fields(cls):
        if is_dataclass(hints[one.name]):
            yield from every_setting(hints[one.name], f"{prefix}{one.name}.")
        else:
            yield f"{prefix}{one.name}", getattr(default, one.name)


def refused(data: object) -> str:
    with pytest.raises(UserError) as caught:
        experiment_from(data, where=Path("experiment.yaml"))
    return str(caught.value)


@pytest.mark.parametrize("experiment", [Experiment(), UNUSUAL], ids=["default", "unusual"])
def test_written_and_read_is_the_same_experiment(tmp_path, experiment):
    path = tmp_path / "experiment.yaml"
    path.write_text(experiment_yaml(experiment, {"network.width": "a reason: with, 'marks' # in it"}), encoding="utf-8")
    assert read_experiment(path) == experiment


def test_a_short_file_holds_what_differs_or_has_a_reason_and_is_the_same_experiment(tmp_path):
    path = tmp_path / "experiment.yaml"
    for experiment in (Experiment(), UNUSUAL):
        path.write_text(experiment_yaml(experiment, {"network.output": "the paper's"}, short=True), encoding="utf-8")
        assert read_experiment(path) == experiment
    text = experiment_yaml(Experiment(seed=3), {"network.output": "the paper's"}, short=True)
    assert text == "network:\n  output: centre  # the paper's\nseed: 3\n"


def test_a_short_file_takes_the_papers_network_for_the_rest(tmp_path):
    (tmp_path / "e.yaml").write_text("network:\n  dropout: 0.2\n", encoding="utf-8")
    experiment = read_experiment(tmp_path / "e.yaml")
    assert (experiment.network.width, experiment.network.depth, experiment.network.padding) == (64, 4, "valid")
    assert experiment.network.dropout == 0.2
    assert experiment.patch == (572, 572)


def test_small_numbers_may_be_written_as_people_do(tmp_path):
    """YAML 1.1 reads 1e-4 as text."""
    (tmp_path / "e.yaml").write_text("learning_rate: 1e-4\nweight_decay: 0\n", encoding="utf-8")
    assert read_experiment(tmp_path / "e.yaml").learning_rate == 1e-4
    assert read_experiment(tmp_path / "e.yaml").weight_decay == 0.0


def test_all_problems_come_at_once_with_the_nearest_names():
    line = refused(
        {
            "learnin_rate": 0.1,
            "network": {"widht": 32, "padding": "smae", "dropout": 1.5},
            "epochs": "many",
            "batch_size": 0,
            "preprocessing": {"normalisation": {"low": 9, "high": 3}},
            "augmentation": [1, 2],
            "patch": [572, 571],
        }
    )
    for words in (
        "learnin_rate is not a setting (did you mean learning_rate?)",
        "network.widht is not a setting (did you mean width?)",
        "network.padding must be one of valid, same, is 'smae'",
        "network.dropout must be 0 to below 1, is 1.5",
        "epochs must be a whole number, is 'many'",
        "batch_size must be 1 to 4096, is 0",
        "normalisation.low 9 must be below normalisation.high 3",
        "augmentation must hold settings (name: value), not [1, 2]",
        "patch: an input side of 571 px does not fit 4 poolings with padding valid. The nearest that fit are 556 and 572",
    ):
        assert words in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"epochs": True}, "epochs must be a whole number, is True"),
        ({"epochs": 2.5}, "epochs must be a whole number"),
        ({"learning_rate": "fast"}, "learning_rate must be a number, is 'fast'"),
        ({"learning_rate": float("nan")}, "learning_rate must be 1e-08 to 10, is nan"),
        ({"loss": {"focal_weight": 2, "name": "dice"}}, "loss.focal_weight weighs focal beside Dice"),
        ({"loss": {"background": False, "name": "focal"}}, "loss.name: focal has no Dice"),
        ({"loss": {"border_weight": 10}}, "loss.border_weight weighs pixels of loss.name: cross_entropy"),
        ({"loss": {"name": "cross_entropy", "border_sigma_px": 0}}, "loss.border_sigma_px must be 0.1 to 100, is 0"),
        ({"loss": "dice"}, "loss must hold settings (name: value), not 'dice'"),
        ({"schedule": "linear"}, "schedule must be one of poly, cosine, is 'linear'"),
        ({"warm_up_fraction": 0.6, "patience": -1}, "warm_up_fraction must be 0 to 0.5, is 0.6; patience must be 0 to"),
        ({"ema": 1.0}, "ema must be 0 to 0.99999, is 1.0"),
        ({"patch": [64]}, "patch must be a list"),
        ({"patch": 64}, "patch must be a list"),
        ({"patch": [64.5, 64]}, "patch must be a list"),
        ({"network": {"depth": 9}}, "network.depth must be 1 to 6, is 9"),
        ({"network": {"name": "orignal"}}, "network.name: 'orignal' is not a network (did you mean original?)"),
        ({"network": {"padding": "same", "output": "rescale"}}, "same has nothing to rescale"),
        ({"network": None}, "network must hold settings"),
        ([1], "the file must hold settings"),
    ],
)
def test_what_cannot_be_a_setting_is_named_with_its_value(data, words):
    assert words in refused(data)


@pytest.mark.parametrize(
    ("text", "words"),
    [("epochs: [1", "not readable as YAML"), ("\x00", "not readable as YAML"), ("- a\n", "must hold settings")],
)
def test_files_that_are_no_experiments_are_one_line(tmp_path, text, words):
    (tmp_path / "e.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words) as caught:
        read_experiment(tmp_path / "e.yaml")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_answered_with_the_nearest(tmp_path):
    (tmp_path / "experiment.yaml").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"did you mean experiment\.yaml"):
        read_experiment(tmp_path / "experment.yaml")


def test_the_digest_follows_what_decides_the_weights():
    digest = Experiment().digest
    assert replace(Experiment(), name="other", manifest="elsewhere.json", workers=7).digest == digest
    assert replace(Experiment(), seed=1).digest != digest
    assert replace(Experiment(), network=NetworkSettings(name="original", width=32)).digest != digest


def without_mean(preprocessing: Preprocessing) -> Preprocessing:
    return replace(preprocessing, normalisation=replace(preprocessing.normalisation, mean=0.0))


def test_runs_from_before_a_setting_existed_keep_their_digest():
    """A run is refused where its digest has changed; one that began with fewer settings trained as their defaults do."""
    added = {"ema", "schedule", "warm_up_fraction", "gradient_norm", "patience", "loss", "compile"}
    earlier = {k: v for k, v in asdict(Experiment()).items() if k not in {"name", "manifest", "workers", *added}}
    for setting in ("mean", "deviation"):
        del earlier["preprocessing"]["normalisation"][setting]
    assert Experiment().digest == hashlib.sha256(json.dumps(earlier, sort_keys=True).encode()).hexdigest()
    earlier["loss"] = {"name": "focal", "class_weights": "none", "border_weight": 0.0, "border_sigma_px": 5.0}
    focal = replace(Experiment(), loss=LossSettings(name="focal"))
    assert focal.digest == hashlib.sha256(json.dumps(earlier, sort_keys=True).encode()).hexdigest()
    assert replace(Experiment(), loss=LossSettings(background=False)).digest != Experiment().digest
    assert replace(Experiment(), ema=0.999).digest != Experiment().digest
    mean = Preprocessing(normalisation=Normalisation(kind="foreground", low=-50, high=50, mean=5))
    assert replace(Experiment(), preprocessing=mean).digest != replace(Experiment(), preprocessing=without_mean(mean)).digest


def test_overrides_go_by_dotted_name():
    changed = override(Experiment(), {"network.width": 8, "patch": [188, 204], "preprocessing.normalisation.kind": "none"})
    assert (changed.network.width, changed.patch, changed.preprocessing.normalisation.kind) == (8, (188, 204), "none")
    assert changed.network.depth == 4


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("epochs.x", "epochs is one value and holds no settings"),
        ("network.widht", "did you mean width"),
        ("netwrk.width", "did you mean network"),
    ],
)
def test_overrides_of_nothing_are_refused(name, words):
    with pytest.raises(UserError, match=words):
        override(Experiment(), {name: 3})


def test_heads_that_cannot_express_the_structures_are_refused():
    softmax, sigmoid = Experiment(), Experiment(network=NetworkSettings(head="sigmoid"))
    two, overlapping = label_table({"a": 1, "b": 2}), label_table({"a": 1, "b": 2}, overlapping=True)
    with pytest.raises(UserError, match=r"overlapping structures need network\.head: sigmoid"):
        softmax.check_fits(overlapping)
    with pytest.raises(UserError, match="2 structures that exclude each other"):
        sigmoid.check_fits(two)
    for experiment, table in ((softmax, two), (sigmoid, overlapping), (sigmoid, label_table({"a": 1}))):
        experiment.check_fits(table)


@pytest.mark.parametrize(("head", "overlapping", "channels"), [("softmax", False, 3), ("sigmoid", True, 2)])
def test_the_network_has_a_channel_for_what_it_must_tell_apart(head, overlapping, channels):
    experiment = Experiment(network=NetworkSettings(head=head), preprocessing=Preprocessing(neighbours=1))
    settings = experiment.network_settings(label_table({"a": 1, "b": 2}, overlapping=overlapping), image_channels=2)
    assert (settings["in_channels"], settings["out_channels"]) == (6, channels)


def test_the_guide_names_every_setting_with_its_default():
    page = (Path(__file__).parents[2] / "docs" / "train.md").read_text(encoding="utf-8")
    for name, default in every_setting(Experiment):
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` |")), None)
        assert row, f"docs/train.md has no row for {name}"
        cell = row.split("|")[2].strip().strip("`")
        shown = f"[{', '.join(map(str, default))}]" if isinstance(default, tuple) else f"{default}"
        shown = shown.lower() if isinstance(default, bool) else shown
        assert cell == (shown or '""'), f"{name}: docs/train.md says {cell}, the code {shown}"
