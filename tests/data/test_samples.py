"""Training samples: number and seed decide them, and image and label stay on each other whatever is done to them."""

from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pipeline.data.augmentation import DISTORTIONS, Augmentation
from pipeline.data.case_store import StoredCase
from pipeline.data.opened import KEPT_OPEN
from pipeline.data.samples import NumbersFrom, Sampling, SliceSamples
from pipeline.errors import UserError

SAMPLING = Sampling(patch=(48, 32), border=0, neighbours=0, foreground_fraction=0.5, seed=11)
NONE = Augmentation().only()
SPATIAL = replace(Augmentation(elastic_px=3, flips=("rows", "columns")).only("deformation"), flip_probability=0.5)
EVERYTHING = Augmentation(flips=("columns",), **dict.fromkeys(DISTORTIONS.values(), 0.5))


def store(folder: Path, label: np.ndarray, image: np.ndarray | None = None) -> StoredCase:
    """A stored case as `store_cases` leaves it; by default the image says its own label: 100 times the class."""
    image = 100.0 * label[:, None] if image is None else image
    folder.mkdir()
    np.save(folder / "image.npy", image.astype(np.float32))
    np.save(folder / "label.npy", label.astype(np.uint8))
    np.save(folder / "affine.npy", np.eye(4))
    for k in range(2):
        np.save(folder / f"positions_{k}.npy", np.argwhere(label == k + 1).astype(np.int32))
    return StoredCase(case=folder.name, patient_id=folder.name, folder=folder)


def blocks(seed: int, shape: tuple[int, int, int] = (5, 70, 60)) -> np.ndarray:
    """A large and a small structure, nowhere symmetric."""
    random = np.random.default_rng(seed)
    label = np.zeros(shape, dtype=np.uint8)
    top, left = random.integers(5, 20, 2)
    label[1:, top : top + 30, left : left + 20] = 1
    label[2, top + 3 : top + 12, left + 2 : left + 9] = 2
    return label


@pytest.fixture
def cases(tmp_path: Path) -> list[StoredCase]:
    return [store(tmp_path / f"case{seed}", blocks(seed)) for seed in range(3)]


def batches(samples: SliceSamples, count: int, **settings: object) -> list[dict[str, torch.Tensor]]:
    return list(islice(DataLoader(samples, batch_size=2, sampler=NumbersFrom(4), **settings), count))


def test_samples_do_not_depend_on_the_number_of_workers(cases):
    samples = SliceSamples(cases, SAMPLING, EVERYTHING)
    alone, two = batches(samples, 5, num_workers=0), batches(samples, 5, num_workers=2)
    assert all(
        torch.equal(a["image"], b["image"]) and torch.equal(a["label"], b["label"]) for a, b in zip(alone, two, strict=True)
    )


def test_samples_arrive_from_a_spawned_worker(cases):
    """As on macOS and Windows, where the data set is sent to the worker instead of inherited."""
    samples = SliceSamples(cases, SAMPLING, EVERYTHING)
    spawned = batches(samples, 1, num_workers=1, multiprocessing_context="spawn")
    assert torch.equal(spawned[0]["image"], batches(samples, 1)[0]["image"])


def test_what_is_sent_to_a_worker_holds_no_pixels(cases):
    samples = SliceSamples(cases, SAMPLING, EVERYTHING)
    samples[0]
    assert len(pickle.dumps(samples)) < 30_000 < (cases[0].folder / "image.npy").stat().st_size


def test_a_sample_depends_on_seed_and_number_alone(cases):
    samples, again = (SliceSamples(cases, SAMPLING, EVERYTHING) for _ in range(2))
    later = samples[17]
    for number in (3, 99):
        again[number]  # what was drawn before does not matter
    assert torch.equal(again[17]["image"], later["image"])
    other_seed = SliceSamples(cases, replace(SAMPLING, seed=12), EVERYTHING)
    assert not torch.equal(other_seed[17]["image"], later["image"])
    assert not torch.equal(samples[18]["image"], later["image"])


@pytest.mark.parametrize("patch", [(48, 32), (200, 180)], ids=["inside", "larger than the image"])
def test_undistorted_label_and_image_say_the_same(cases, patch):
    samples = SliceSamples(cases, replace(SAMPLING, patch=patch), NONE)
    for number in range(20):
        sample = samples[number]
        assert sample["image"].shape == sample["label"].shape == (1, *patch)
        assert torch.equal(sample["image"] / 100, sample["label"].float())


@pytest.mark.parametrize("patch", [(48, 32), (200, 180)], ids=["inside", "larger than the image"])
def test_distorted_label_and_image_say_the_same(cases, patch):
    """Rotated, scaled, deformed, flipped and mirrored: where interpolation did not mix classes, they agree."""
    samples = SliceSamples(cases, replace(SAMPLING, patch=patch), SPATIAL)
    at_outlines = []
    for number in range(30):
        sample = samples[number]
        classes, label = sample["image"] / 100, sample["label"].float()
        sure = (classes - classes.round()).abs() < 1e-3
        assert sure.float().mean() > 0.75
        assert torch.equal(classes.round()[sure], label[sure])
        at_outlines.append((classes.round() == label)[~sure & (classes < 1)])
    assert torch.cat(at_outlines).float().mean() > 0.9  # nearest and linear of one and the same deformation


def test_a_valid_network_gets_the_label_of_its_output(cases):
    whole = SliceSamples(cases, replace(SAMPLING, patch=(60, 56), border=20), NONE)
    for number in range(10):
        sample = whole[number]
        assert sample["label"].shape == (1, 20, 16)
        assert torch.equal(sample["image"][:, 20:-20, 20:-20] / 100, sample["label"].float())


def test_the_output_of_a_valid_network_stays_on_the_image(tmp_path):
    """Only its border is mirrored; so each pixel that is learned is one that was scanned, once."""
    numbered = np.arange(70 * 60, dtype=np.float32).reshape(1, 1, 70, 60)
    case = store(tmp_path / "numbered", np.ones((1, 70, 60)), numbered)
    samples = SliceSamples([case], replace(SAMPLING, patch=(76, 76), border=20), NONE)
    for number in range(30):
        output = samples[number]["image"][0, 20:-20, 20:-20]
        assert output.unique().numel() == 36 * 36
        assert (output[:, 1:] - output[:, :-1] == 1).all()


def test_structures_are_seen_equally_often_however_small(cases):
    samples = SliceSamples(cases, replace(SAMPLING, foreground_fraction=1.0), NONE)
    with_small = sum(int((samples[number]["label"] == 2).any()) for number in range(200))
    assert with_small > 90  # 63 of 2 to 3 thousand foreground pixels: by pixels, it would be about 5


def test_foreground_share(tmp_path):
    """One slice of ten holds a structure; a share of 0.5 shows it in 0.5 + 0.5 / 10 of the samples."""
    label = np.zeros((10, 40, 40))
    label[4] = 1
    case = store(tmp_path / "one", label)
    for fraction, expected in ((0.0, 0.1), (0.5, 0.55), (1.0, 1.0)):
        samples = SliceSamples([case], replace(SAMPLING, patch=(32, 32), foreground_fraction=fraction), NONE)
        share = np.mean([bool(samples[number]["label"].any()) for number in range(300)])
        assert share == pytest.approx(expected, abs=0.09)  # three standard deviations


def test_cases_without_any_structure_are_sampled_all_the_same(tmp_path):
    case = store(tmp_path / "empty", np.zeros((3, 40, 40)))
    samples = SliceSamples([case], replace(SAMPLING, patch=(32, 32), foreground_fraction=1.0), EVERYTHING)
    assert not samples[0]["label"].any()


def test_neighbouring_slices_come_as_channels(cases):
    samples = SliceSamples(cases, replace(SAMPLING, neighbours=1), NONE)
    sample = samples[3]
    assert sample["image"].shape == (3, 48, 32)
    assert torch.equal(sample["image"][1:2] / 100, sample["label"].float())  # the middle one is the labelled one


def test_a_sample_before_and_after_its_distortions_is_one_and_the_same(cases):
    """What a page shows as the original is what the network's sample was made of."""
    samples = SliceSamples(cases, replace(SAMPLING, patch=(60, 56), border=20), NONE)
    for number in range(5):
        patch, sample = samples.patch(number), samples[number]
        assert np.array_equal(patch.image, sample["image"])
        assert np.array_equal(patch.label[:, 20:-20, 20:-20], sample["label"])


def test_no_distortion_leads_out_of_what_the_normalisation_gives(cases):
    """A window of Hounsfield units clips to -1 and 1, in training as in the clinic."""
    label = np.zeros((2, 40, 40), dtype=np.uint8)
    window = np.random.default_rng(0).uniform(-1, 1, (2, 1, 40, 40))
    case = store(cases[0].folder.parent / "window", label, window)
    strong = Augmentation(noise_deviation=2, brightness_shift=2).only("noise", "brightness", "contrast", "gamma")
    samples = SliceSamples([case], replace(SAMPLING, limits=(-1.0, 1.0)), strong)
    images = torch.stack([samples[number]["image"] for number in range(20)])
    assert images.min() == -1 and images.max() == 1
    assert ((images > -1) & (images < 1)).float().mean() > 0.2


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")
def test_of_many_cases_only_some_stay_open(tmp_path):
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    many = [store(tmp_path / f"case{number}", np.ones((1, 20, 20), dtype=np.uint8)) for number in range(KEPT_OPEN // 2)]
    samples = SliceSamples(many, SAMPLING, NONE)  # three files a case are more than may stay open
    for number in range(4 * len(many)):
        samples[number]
    assert 10 < len(list(Path("/proc/self/fd").iterdir())) - open_before <= KEPT_OPEN


def test_a_case_that_was_preprocessed_anew_is_read_anew(tmp_path):
    case = store(tmp_path / "case", np.zeros((1, 20, 20), dtype=np.uint8))
    assert not case.image.any()
    (case.folder / "image.npy").unlink()
    np.save(case.folder / "image.npy", np.ones((1, 1, 20, 20), dtype=np.float32))
    assert case.image.all()


def test_a_file_that_vanishes_is_named(tmp_path):
    case = store(tmp_path / "case", np.zeros((1, 20, 20), dtype=np.uint8))
    assert case.label.shape == (1, 20, 20)
    (case.folder / "label.npy").unlink()
    with pytest.raises(UserError, match=r"label\.npy: a preprocessed file is gone. Delete the run's cache folder"):
        _ = case.label


def test_numbers_go_on_where_an_epoch_broke_off():
    assert list(islice(NumbersFrom(40), 3)) == [40, 41, 42]
