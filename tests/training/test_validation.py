"""Scores of a training: those of an independent count on the stored labels, and n/a where there is nothing to score."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from made_trainings import MULTI, OVERLAPPING, TINY, write_set

from pipeline.data.case_store import StoredCase, store_cases
from pipeline.data.manifest import read_manifest
from pipeline.data.slice_grid import Preprocessing
from pipeline.network.catalogue import build_network
from pipeline.network.tiling import WholeSlice
from pipeline.network.unet import OriginalUNet
from pipeline.training.checkpoint import load_checkpoint
from pipeline.training.train import train
from pipeline.training.validation import Validator, metrics


def stored(folder: Path, path: Path) -> list[StoredCase]:
    manifest = read_manifest(path)
    return store_cases(manifest, [c for c in manifest.cases if c.fold == 0], Preprocessing(), folder)


def constant_network(biases: list[float]) -> WholeSlice:
    """Says the same everywhere."""
    network = OriginalUNet(out_channels=len(biases), width=2, depth=1, padding="same")
    with torch.no_grad():
        network.scores.weight.zero_()
        network.scores.bias.copy_(torch.tensor(biases))
    return WholeSlice(network)


def validated(cases: list[StoredCase], network: WholeSlice, table=MULTI, head="softmax") -> list:
    return Validator(cases, table, head, neighbours=0, device=torch.device("cpu"))(network)


@pytest.mark.parametrize("overlapping", [False, True])
def test_the_logged_dice_is_an_independent_count_on_the_files_own_labels(tmp_path, overlapping):
    """Labels by nibabel, turned by hand from RAS+ to slices of LPS; the last weights through a network of our own making."""
    settings = {**TINY, "network.head": "sigmoid" if overlapping else "softmax", "learning_rate": 0.02, "steps_per_epoch": 10}
    path = write_set(tmp_path / "set", OVERLAPPING if overlapping else MULTI)
    run = train(path, tmp_path / "run", settings=settings)
    network = build_network("original", run.experiment().network_settings(run.manifest().table, 1))
    network.load_state_dict(load_checkpoint(run.last)["network"])
    whole, dices = WholeSlice(network).eval(), {"organ": [], "lesion": []}
    for case in stored(tmp_path / "cache", path):
        with torch.inference_mode():
            scores = whole(torch.from_numpy(np.array(case.image))).numpy()
        number = case.case.removeprefix("case_")
        label = np.asarray(nibabel.load(tmp_path / "set" / f"label_{number}.nii.gz").dataobj)[::-1, ::-1]
        for index, name in enumerate(dices):
            found = scores[:, index] > 0 if overlapping else scores.argmax(axis=1) == index + 1
            truth = (label[..., index] == 1 if overlapping else label == (1, 4)[index]).transpose(2, 1, 0)
            if found.any() or truth.any():
                dices[name].append(2 * np.sum(found & truth) / (np.sum(found) + np.sum(truth)))
    last = run.history()[-1]
    for name, values in dices.items():
        assert last[f"val/dice/{name}"] == pytest.approx(np.mean(values), abs=1e-12)
    assert last["val/dice/organ"] > 0.1  # there is something to compare
    assert last["val/dice"] == pytest.approx(np.mean([np.mean(values) for values in dices.values()]), abs=1e-12)


def test_a_structure_that_is_nowhere_is_not_averaged(manifest, tmp_path):
    cases = stored(tmp_path, manifest)  # case_0 has a lesion, case_2 has none
    results = validated(cases, constant_network([1.0, 0.0, 0.0]))
    assert [r.scores[1].dice for r in results] == [0.0, None]
    assert [r.scores[0].dice for r in results] == [0.0, 0.0]
    assert metrics(results, MULTI)["val/dice/lesion"] == 0.0
    alone = metrics(results[1:], MULTI)
    assert "val/dice/lesion" not in alone
    assert alone["val/dice"] == alone["val/dice/organ"]


def test_a_false_alarm_counts_as_nothing_right(manifest, tmp_path):
    results = validated(stored(tmp_path, manifest), constant_network([0.0, 0.0, 1.0]))
    assert results[1].scores[1].dice == 0.0
    assert results[0].scores[1].recall == 1.0


def test_a_case_without_anything_in_it_and_nothing_found_is_right(tmp_path):
    cases = stored(tmp_path / "cache", write_set(tmp_path / "set"))
    label = np.zeros_like(cases[0].label)
    np.save(cases[0].folder / "label.npy", label)
    results = validated(cases[:1], constant_network([1.0, 0.0, 0.0]))
    assert results[0].dice == 1.0
    assert metrics(results, MULTI) == {}


def test_overlapping_structures_are_scored_each_by_itself(tmp_path):
    path = write_set(tmp_path / "set", OVERLAPPING)
    results = validated(stored(tmp_path / "cache", path), constant_network([1.0, -1.0]), OVERLAPPING, "sigmoid")
    organ, lesion = results[0].scores
    assert organ.recall == 1.0
    assert lesion.dice == 0.0


def test_the_network_is_left_in_the_mode_it_had(manifest, tmp_path):
    network = constant_network([1.0, 0.0, 0.0]).train()
    validated(stored(tmp_path, manifest), network)
    assert network.training


def test_the_time_for_all_cases_is_told_from_the_first(manifest, tmp_path):
    validator = Validator(stored(tmp_path, manifest), MULTI, "softmax", neighbours=0, device=torch.device("cpu"))
    assert 0 < validator.expected_s(constant_network([1.0, 0.0, 0.0])) < 10
    assert Validator([], MULTI, "softmax", neighbours=0, device=torch.device("cpu")).expected_s(constant_network([1.0])) == 0


def test_a_prediction_is_the_one_that_is_scored_whatever_mode_the_network_is_in(manifest, tmp_path):
    """The pictures are predicted after a training, which leaves the network with drop-out and statistics of the batch."""
    cases = stored(tmp_path, manifest)
    torch.manual_seed(0)
    network = WholeSlice(OriginalUNet(out_channels=3, width=2, depth=1, padding="same", normalization="batch", dropout=0.5))
    validator = Validator(cases, MULTI, "softmax", neighbours=0, device=torch.device("cpu"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    shown = validator.predict(network.train(), cases[0])
    assert np.array_equal(shown, validator.predict(network.eval(), cases[0]))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
