"""A case of a manifest to slices: channels, overlapping structures, pictures; each as the network gets it."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from made_trainings import AFFINE, BINARY, OVERLAPPING, write_set
from PIL import Image

from pipeline.data.loading import loading_transforms
from pipeline.data.manifest import Case, Manifest, read_manifest
from pipeline.data.normalise import Normalisation
from pipeline.data.slice_grid import Preprocessing
from pipeline.labels import label_table

AS_STORED = Preprocessing(normalisation=Normalisation(kind="none"))


def loaded(manifest: Manifest, settings: Preprocessing = AS_STORED) -> dict[str, np.ndarray]:
    return loading_transforms(manifest, settings)(manifest.cases[0])


def test_the_channels_of_a_4d_file_stay_in_order(tmp_path):
    manifest = read_manifest(write_set(tmp_path, channels=2))
    data = loaded(manifest)
    stored = np.asarray(nibabel.load(tmp_path / "image_0.nii.gz").dataobj)
    assert data["image"].shape == (6, 2, 36, 40)
    mm = AFFINE @ (31, 7, 2, 1)
    column, row, number, _ = np.rint(np.linalg.inv(data["affine"]) @ mm).astype(int)
    assert data["image"][number, :, row, column].tolist() == stored[31, 7, 2].tolist()


def test_two_files_are_two_channels(tmp_path):
    path = write_set(tmp_path, BINARY)
    text = path.read_text(encoding="utf-8")
    first = read_manifest(path).cases[0].image_sha256[0]
    twice = text.replace('"image": "image_0.nii.gz"', '"image": ["image_0.nii.gz", "image_0.nii.gz"]', 1)
    path.write_text(twice.replace(f'"image": "{first}"', f'"image": ["{first}", "{first}"]', 1), encoding="utf-8")
    data = loaded(read_manifest(path))
    assert data["image"].shape == (6, 2, 36, 40)
    assert np.array_equal(data["image"][:, 0], data["image"][:, 1])


def test_overlapping_structures_keep_their_overlap(tmp_path):
    manifest = read_manifest(write_set(tmp_path, OVERLAPPING))
    label = loaded(manifest)["label"]
    assert label.shape == (6, 2, 36, 40)
    assert np.count_nonzero(label[:, 0] & label[:, 1]) == np.count_nonzero(label[:, 1]) > 0  # the lesion lies in the organ


def test_a_picture_is_one_slice_as_it_is_seen(tmp_path):
    image = np.arange(30 * 20, dtype=np.uint16).reshape(20, 30) // 3
    mask = np.zeros((20, 30), dtype=np.uint8)
    mask[2, 27] = 255  # row 2, column 27
    Image.fromarray(image.astype(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(mask).save(tmp_path / "b.png")
    case = Case(
        case="a",
        image=("a.png",),
        label=("b.png",),
        patient_id="a",
        fold=0,
        shape=(30, 20, 1),
        spacing_mm=(1.0, 1.0, 1.0),
        spacing_known=False,
        modality="picture",
    )
    manifest = Manifest(name="pictures", data_root=Path(tmp_path), table=label_table({"cell": 255}), cases=(case,))
    data = loaded(manifest, Preprocessing(plane="stored", normalisation=Normalisation(kind="none")))
    assert np.argwhere(data["label"] == 1).tolist() == [[0, 2, 27]]
    assert np.array_equal(data["image"][0, 0], image.astype(np.uint8))
