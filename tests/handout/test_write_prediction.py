"""The folder of one prediction: mask, sidecar, picture, and what may not be lost or said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from pipeline.errors import Notice, UserError
from pipeline.handout.folder import write_prediction
from pipeline.inference.prediction import Prediction, structure_volumes
from pipeline.io.nifti import read_nifti
from pipeline.io.volume import Source, Volume
from pipeline.labels import LabelTable, label_table

ORGAN = label_table({"organ": 3})


def prediction_of(
    labels: np.ndarray,
    affine: np.ndarray | None = None,
    *,
    table: LabelTable = ORGAN,
    notices: tuple[Notice, ...] = (),
    **source: object,
) -> Prediction:
    where = Source(**{"path": Path("scans/knee.nii.gz"), "kind": "nifti", **source})
    grey = np.random.default_rng(0).normal(40, 20, labels.shape[:3]).astype(np.int16)
    image = Volume(array=grey, affine=np.diag([-1.0, -1, 2, 1]) if affine is None else affine, modality="CT", source=where)
    volume = replace(image, array=labels)
    return Prediction(image=image, labels=volume, table=table, structures=structure_volumes(volume, table), notices=notices)


def block(shape: tuple[int, ...] = (20, 16, 8), value: int = 3, background: int = 0) -> np.ndarray:
    labels = np.full(shape, background, dtype=np.uint8)
    labels[5:12, 4:9, slice(2, -3) if shape[2] > 1 else 0] = value
    return labels


def sidecar_of(folder: Path) -> dict:
    return json.loads((folder / "mask.json").read_text(encoding="utf-8"))


def test_the_folder_holds_mask_sidecar_and_picture(tmp_path: Path) -> None:
    folder = write_prediction(prediction_of(block()), tmp_path / "out")
    assert folder == tmp_path / "out" / "knee"
    assert sorted(path.name for path in folder.iterdir()) == ["mask.json", "mask.nii.gz", "overlay.png", "report.html"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["knee"]
    np.testing.assert_array_equal(np.asarray(nibabel.load(folder / "mask.nii.gz").dataobj), block())


def test_the_sidecar_says_what_the_values_mean_and_how_much_there_is(tmp_path: Path) -> None:
    table = label_table({"liver": 3, "tumour": 7})
    notice = Notice(code="made-up", sentence="something to know", where="knee")
    said = sidecar_of(write_prediction(prediction_of(block(), table=table, notices=(notice,)), tmp_path))
    assert said["mask"] == "mask.nii.gz"
    assert [file["name"] for file in said["files"]] == ["mask.nii.gz", "overlay.png", "report.html"]
    assert said["mask_shape"] == said["image"]["shape"] == [20, 16, 8]
    assert [(s["value"], s["name"]) for s in said["labels"]["structures"]] == [(3, "liver"), (7, "tumour")]
    assert said["labels"]["structures"][0]["code"]["value"] == "10200004"  # SNOMED CT: liver
    assert said["volumes"] == [
        {
            "value": 3,
            "name": "liver",
            "voxels": 105,
            "ml": 0.21,
            "at_border": False,
            "text": "liver: 0.21 ml",
        },  # 7 x 5 x 3 x 2 mm3
        {"value": 7, "name": "tumour", "voxels": 0, "ml": 0.0, "at_border": False, "text": "tumour: 0 ml (not found)"},
    ]
    assert said["image"]["spacing_mm"] == [1.0, 1.0, 2.0]
    assert said["notices"] == [{"code": "made-up", "sentence": "something to know", "where": "knee"}]


def test_volumes_and_pixels_of_a_microscope_keep_their_digits(tmp_path: Path) -> None:
    said = sidecar_of(write_prediction(prediction_of(block(), np.diag([4e-6, 4e-6, 5e-5, 1])), tmp_path))
    assert said["image"]["spacing_mm"] == [4e-6, 4e-6, 5e-5]
    assert said["volumes"][0]["ml"] == pytest.approx(105 * 8e-16 / 1000)


@pytest.mark.parametrize("spacing_known", [True, False])
def test_a_picture_gets_a_picture_of_its_size_and_no_ml(spacing_known: bool, tmp_path: Path) -> None:
    prediction = prediction_of(
        block((20, 16, 1), 255), table=label_table({"cell": 255}), kind="picture", spacing_known=spacing_known
    )
    folder = write_prediction(prediction, tmp_path)
    with Image.open(folder / "mask.png") as mask:
        assert (mask.size, mask.mode) == ((20, 16), "L")
        np.testing.assert_array_equal(np.asarray(mask).T, prediction.labels.array[:, :, 0])
    assert not (folder / "mask.nii.gz").exists()
    said = sidecar_of(folder)
    assert (said["mask"], said["volumes"][0]["ml"], said["volumes"][0]["text"]) == ("mask.png", None, "cell: 35 pixels")
    assert (said["image"]["spacing_mm"] is None) == (not spacing_known)
    assert " ml" not in json.dumps(said)


def test_a_slice_without_a_thickness_claims_no_ml(tmp_path: Path) -> None:
    prediction = prediction_of(block((20, 16, 1)), kind="dicom", spacing_known=False, series_uid="1.2.3.12345678")
    said = sidecar_of(write_prediction(prediction, tmp_path))
    assert (said["volumes"][0]["ml"], said["volumes"][0]["text"], said["image"]["spacing_mm"]) == (
        None,
        "organ: 35 pixels",
        None,
    )


def sheared() -> np.ndarray:
    affine = np.diag([-1.0, -1.0, 4.0, 1.0])
    affine[1, 2] = 1.0  # a gantry tilted by 14 degrees: each slice lies 1 mm beside the one before
    return affine


@pytest.mark.parametrize("background", [0, 9])
def test_a_sheared_mask_is_written_right_angled_with_the_background_around_it(background: int, tmp_path: Path) -> None:
    table = label_table({"background": background, "organ": 3})
    labels = block(background=background)
    folder = write_prediction(prediction_of(labels, sheared(), table=table), tmp_path)
    written = nibabel.load(folder / "mask.nii.gz")
    values = np.asarray(written.dataobj)
    assert values.shape == (20, 16 + 7, 8)  # 8 slices, each 1 pixel further
    assert sidecar_of(folder)["mask_shape"] == [20, 23, 8]
    assert sidecar_of(folder)["image"]["shape"] == [20, 16, 8]
    assert set(np.unique(values)) == {background, 3}
    np.testing.assert_allclose(np.linalg.norm(written.affine[:3, :3], axis=0), [1, 1, 4])
    places = [
        affine[:3, :3] @ np.argwhere(mask == 3).T + affine[:3, 3:]
        for affine, mask in ((sheared(), labels), (written.affine, values))
    ]
    np.testing.assert_allclose(np.sort(places[0], axis=1), np.sort(places[1], axis=1), atol=1e-4)
    itk = sitk.ReadImage(str(folder / "mask.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(itk).T, values)
    np.testing.assert_allclose(itk.GetOrigin(), written.affine[:3, 3] * (-1, -1, 1), atol=1e-4)


def test_a_sheared_mask_of_overlapping_structures_has_zeros_around_it(tmp_path: Path) -> None:
    table = label_table({"background": 9, "whole": 1, "core": 2}, overlapping=True)
    labels = np.stack([block(value=1), block(value=1)], axis=-1)
    folder = write_prediction(prediction_of(labels, sheared(), table=table), tmp_path)
    values = np.asarray(nibabel.load(folder / "mask.nii.gz").dataobj)
    assert (values.shape, values.sum(), values.max()) == ((20, 23, 8, 2), labels.sum(), 1)


def test_the_sidecar_names_every_slice_and_file_and_repeats_notices_word_for_word(tmp_path: Path) -> None:
    notice = Notice(code="slices-duplicated", sentence="1 image was there twice (12.dcm: a copy of 11.dcm)", where="12.dcm")
    prediction = prediction_of(
        block(),
        kind="dicom",
        series_uid="1.2.826.0.1.3680043.8.498.4711.12345678",
        series_number=5,
        volume_name="TE 90",
        sop_uids=tuple(f"1.2.3.{k}" for k in range(8)),
        frame_numbers=(1,) * 8,
        shown_in=tuple(range(8)),
        files_set_aside=(("Doe Jane/report.pdf", "not DICOM"),),
        notices=(notice,),
    )
    folder = write_prediction(prediction, tmp_path)
    assert folder.name == "series5_12345678_TE-90"
    said = sidecar_of(folder)
    assert said["slices"][2] == {"number": 3, "sop_instance_uid": "1.2.3.2", "frame": 1}
    assert len(said["slices"]) == 8
    assert said["notices"] == [{"code": notice.code, "sentence": notice.sentence, "where": "12.dcm"}]
    image = said["image"]
    assert (image["series"], image["series_number"], image["volume"]) == ("12345678", 5, "TE 90")
    assert image["files_set_aside"] == [{"name": "report.pdf", "why": "not DICOM"}]  # archives name folders after patients
    assert "4711.12345678" not in json.dumps(said)


def test_the_picture_shows_the_outline_in_the_colour_of_the_table(tmp_path: Path) -> None:
    folder = write_prediction(prediction_of(block()), tmp_path)
    with Image.open(folder / "overlay.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    colour = np.array(ORGAN.structures[0].colour)
    assert (np.abs(pixels - colour.astype(int)).max(axis=1) < 12).sum() > 100
    grey = pixels[(pixels.max(axis=1) - pixels.min(axis=1)) < 4]
    assert len(grey) > 0.8 * len(pixels)  # lines, no flood: the anatomy stays visible


def test_an_earlier_prediction_stays_unless_it_may_be_overwritten(tmp_path: Path) -> None:
    write_prediction(prediction_of(block()), tmp_path)
    empty = prediction_of(np.zeros((20, 16, 8), np.uint8))
    with pytest.raises(UserError, match=r"a prediction of this name is there already\. Add --overwrite"):
        write_prediction(empty, tmp_path)
    assert np.asarray(nibabel.load(tmp_path / "knee" / "mask.nii.gz").dataobj).any()
    folder = write_prediction(empty, tmp_path, overwrite=True)
    assert not np.asarray(nibabel.load(folder / "mask.nii.gz").dataobj).any()
    assert [path.name for path in tmp_path.iterdir()] == ["knee"]


@pytest.mark.parametrize("name", ["mask_corrected.nii.gz", "notes.txt"])
def test_a_folder_with_somebodys_file_is_not_replaced(name: str, tmp_path: Path) -> None:
    folder = write_prediction(prediction_of(block()), tmp_path)
    (folder / name).write_text("hours of work")
    with pytest.raises(UserError, match=f"holds something else than a prediction: {name}"):
        write_prediction(prediction_of(block()), tmp_path, overwrite=True)
    assert (folder / name).read_text() == "hours of work"


def test_a_file_in_the_place_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "knee").write_text("mine")
    with pytest.raises(UserError, match="holds something else than a prediction: knee"):
        write_prediction(prediction_of(block()), tmp_path)
    assert (tmp_path / "knee").read_text() == "mine"


def test_an_out_that_is_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match=r"cannot be written \(.*\)\. Choose another folder with -o\."):
        write_prediction(prediction_of(block()), tmp_path / "out")


def test_what_fails_half_way_leaves_the_earlier_prediction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_prediction(prediction_of(block()), tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.handout.folder.mosaic", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_prediction(prediction_of(np.zeros((20, 16, 8), np.uint8)), tmp_path, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["knee"]


@pytest.mark.parametrize("name", [".nii.gz", "..nii.gz", "...nii"])
def test_a_file_without_a_name_cannot_lead_out_of_the_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="the file has no name before its ending"):
        write_prediction(prediction_of(block(), path=Path(name)), tmp_path / "out")


def test_the_mask_reads_back_with_our_own_reader(tmp_path: Path) -> None:
    prediction = prediction_of(block())
    volume = read_nifti(write_prediction(prediction, tmp_path) / "mask.nii.gz")
    np.testing.assert_array_equal(volume.array, prediction.labels.array)
    np.testing.assert_allclose(volume.affine, prediction.labels.affine)
