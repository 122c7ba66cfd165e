"""Probabilities and uncertainty: the numbers against their formulas, and where they lie against the mask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from made_runs import thresholding_bundle
from made_series import noise, save, volume_datasets
from scipy.special import expit, softmax
from scipy.stats import entropy

from pipeline.errors import UserError
from pipeline.handout.folder import write_prediction
from pipeline.handout.formats import chosen_formats
from pipeline.inference.predictor import Predictor
from pipeline.io.read import read_volume
from pipeline.io.volume import Volume
from pipeline.labels import label_table

NAMES = {"organ": 1, "lesion": 2}
TURNED = np.array([[0, 0, 3.0, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # sagittal: the network sees other slices
HALF = 1e-3  # float16 has eleven bits


def grey(shape: tuple[int, ...] = (17, 22, 9)) -> np.ndarray:
    return np.random.default_rng(3).normal(0.8, 1.0, shape).astype(np.float32)


def scores(values: np.ndarray, head: str) -> np.ndarray:
    """What `thresholding` says of its network, a score a structure on the last axis."""
    return np.stack([values - 0.5, 2 * (values - (1.0 if head == "softmax" else 1.5))], axis=-1)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_softmax_over_all_classes_and_the_entropy_of_them(temperature: float, tmp_path: Path) -> None:
    bundle = thresholding_bundle(tmp_path, table=label_table(NAMES))
    bundle = replace(bundle, recipe=replace(bundle.recipe, temperature=temperature))
    image = Volume(array=grey(), affine=TURNED)
    found = Predictor(bundle).predict(image, probabilities=True, uncertainty=True)
    classes = softmax(np.insert(scores(image.array, "softmax"), 0, 0, axis=-1) / temperature, axis=-1)
    np.testing.assert_allclose(found.probabilities, classes[..., 1:], atol=HALF)
    np.testing.assert_allclose(found.uncertainty, entropy(classes, axis=-1) / np.log(3), atol=HALF)
    assert found.uncertainty.min() >= 0 and found.uncertainty.max() <= 1
    np.testing.assert_array_equal(found.labels.array, classes.argmax(axis=-1))


def test_structures_that_overlap_have_a_probability_each_and_the_least_certain_counts(tmp_path: Path) -> None:
    bundle = thresholding_bundle(tmp_path, table=label_table(NAMES, overlapping=True), head="sigmoid")
    image = Volume(array=grey(), affine=TURNED)
    found = Predictor(bundle).predict(image, probabilities=True, uncertainty=True)
    each = expit(scores(image.array, "sigmoid"))
    np.testing.assert_allclose(found.probabilities, each, atol=HALF)
    entropies = entropy(np.stack([each, 1 - each]), axis=0, base=2)
    np.testing.assert_allclose(found.uncertainty, entropies.max(axis=-1), atol=HALF)
    alone = Predictor(bundle, only=["lesion"]).predict(image, probabilities=True, uncertainty=True)
    np.testing.assert_array_equal(alone.probabilities, found.probabilities[..., 1:])
    np.testing.assert_allclose(alone.uncertainty, entropies[..., 1], atol=HALF)


def test_only_those_asked_for_and_only_when_asked(tmp_path: Path) -> None:
    bundle = thresholding_bundle(tmp_path, table=label_table(NAMES))
    image = Volume(array=grey(), affine=TURNED)
    plain = Predictor(bundle).predict(image)
    assert plain.probabilities is None and plain.uncertainty is None
    both = Predictor(bundle).predict(image, probabilities=True)
    some = Predictor(bundle, only=["lesion"]).predict(image, probabilities=True)
    assert both.uncertainty is None
    np.testing.assert_array_equal(some.probabilities, both.probabilities[..., 1:])
    np.testing.assert_array_equal(plain.labels.array, both.labels.array)


def test_in_the_air_that_is_not_looked_at_nothing_is_found_for_certain(tmp_path: Path) -> None:
    bundle = thresholding_bundle(tmp_path, table=label_table(NAMES), modality="CT", at=-2000)  # would find it everywhere
    bundle = replace(bundle, recipe=replace(bundle.recipe, body_box=True))
    array = np.full((90, 80, 6), -1000, dtype=np.int16)
    array[40:60, 40:60] = 40
    found = Predictor(bundle).predict(
        Volume(array=array, affine=np.eye(4), modality="CT"), probabilities=True, uncertainty=True
    )
    looked_at = found.labels.array > 0
    assert looked_at[50, 50, 3] and not looked_at[0, 0, 3]
    assert (found.probabilities[~looked_at] == 0).all() and (found.uncertainty[~looked_at] == 0).all()
    assert (found.probabilities[looked_at].sum(axis=-1) > 0.9).all()


def test_resampled_slices_give_maps_on_the_image_that_agree_with_its_labels(tmp_path: Path) -> None:
    bundle = thresholding_bundle(tmp_path, table=label_table(NAMES), spacing_mm=2.0)
    image = Volume(array=grey((40, 31, 5)), affine=np.diag([1.0, 1.5, 4.0, 1.0]))
    found = Predictor(bundle).predict(image, probabilities=True, uncertainty=True)
    assert found.probabilities.shape == (40, 31, 5, 2) and found.uncertainty.shape == (40, 31, 5)
    background = 1 - found.probabilities.astype(np.float64).sum(axis=-1, keepdims=True)
    ordered = np.sort(np.concatenate([background, found.probabilities], axis=-1), axis=-1)
    certain = ordered[..., -1] - ordered[..., -2] > 4 * HALF
    winner = np.concatenate([background, found.probabilities], axis=-1).argmax(axis=-1)
    assert certain.mean() > 0.9
    np.testing.assert_array_equal(winner[certain], found.labels.array[certain])


@pytest.mark.parametrize("names", [{"organ": 1}, NAMES])
def test_the_files_lie_on_the_mask_also_where_that_was_moved(names: dict[str, int], tmp_path: Path) -> None:
    bundle = thresholding_bundle(tmp_path, table=label_table(names), modality="CT", at=500.25)  # no ties
    series = save(volume_datasets(noise(6, 24, 28), step=(0, 1.0, 4.0)), tmp_path / "tilted")
    image = read_volume(series)
    predictor = Predictor(bundle)
    formats = chosen_formats({"probabilities": True, "uncertainty": True}, image, predictor.table)
    prediction = predictor.predict(image, probabilities=True, uncertainty=True)
    folder = write_prediction(prediction, tmp_path / "out", formats=formats)
    mask = nibabel.load(folder / "mask.nii.gz")
    labels = np.asarray(mask.dataobj)
    for name, channels in (("probabilities.nii.gz", (len(names),) if len(names) > 1 else ()), ("uncertainty.nii.gz", ())):
        file = nibabel.load(folder / name)
        assert file.shape == (*labels.shape, *channels)
        np.testing.assert_array_equal(file.affine, mask.affine)
        assert "resampled: tilted" in file.header["descrip"].item().decode()
        assert sitk.ReadImage(str(folder / name)).GetSize() == file.shape
    probability = np.asarray(nibabel.load(folder / "probabilities.nii.gz").dataobj).reshape(*labels.shape, -1)
    winner = np.insert(probability, 0, 1 - probability.sum(axis=-1), axis=-1).argmax(axis=-1)
    np.testing.assert_array_equal(winner, labels)


def test_files_that_the_prediction_cannot_fill_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    predictor = Predictor(thresholding_bundle(tmp_path, table=label_table(NAMES)))
    image = Volume(array=grey(), affine=TURNED)
    formats = chosen_formats({"uncertainty": True}, image, predictor.table)
    with pytest.raises(UserError, match=r"made without uncertainty\. Call predict\(\.\.\., uncertainty=True\)"):
        write_prediction(predictor.predict(image), tmp_path / "out", formats=formats)
    assert not list((tmp_path / "out").rglob("*"))
