"""NIfTI, SEG, RTSTRUCT and seg.nrrd of one prediction hold the same voxels, each read by a library that did not write it."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from made_predictions import ALL, SERIES, TABLE, handed_out, labelled, pixels, rtstruct_masks, seg_masks, series
from made_series import save, volume_datasets
from pydicom import dcmread

from pipeline.handout.folder import write_prediction
from pipeline.handout.formats import chosen_formats
from pipeline.inference.prediction import Prediction
from pipeline.io.read import read_label_volume, read_volume

REAL = {
    "mr_sagittal": "plain sagittal",
    "mr_double_oblique": "oblique",
    "ct_tilt_philips": "tilted",
    "ct_tilt_siemens_no_tag": "tilted",
    "ct_jitter": "jitter",
    "mr_single_slice": "one slice",
    "enhanced_philips": "Enhanced",
    "enhanced_siemens": "Enhanced",
    "ct_latin1_text": "umlauts",
}


def errors_of(path: Path) -> list[str]:
    """The Error lines of David Clunie's checker."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian: dicom3tools) is not installed")
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace", timeout=60)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def same_in_all(prediction: Prediction, folder: Path) -> None:
    truth, affine, shape = prediction.labels.array, prediction.labels.affine, prediction.labels.shape
    by_seg = seg_masks(folder / "mask.seg.dcm", affine, shape)
    by_rtstruct = rtstruct_masks(folder / "mask.rtstruct.dcm", affine, shape)
    for structure in prediction.table.structures:
        np.testing.assert_array_equal(by_seg[structure.name], truth == structure.value)
        np.testing.assert_array_equal(by_rtstruct[structure.name], truth == structure.value)
    mask = nibabel.load(folder / "mask.nii.gz")
    values, header = nrrd.read(str(folder / "mask.seg.nrrd"))
    np.testing.assert_array_equal(values, np.asarray(mask.dataobj))
    directions = np.asarray(header["space directions"]) * (-1, -1, 1)
    np.testing.assert_allclose(directions.T, mask.affine[:3, :3], atol=1e-5)
    np.testing.assert_allclose(header["space origin"] * (-1, -1, 1), mask.affine[:3, 3], atol=1e-3)
    both = [sitk.ReadImage(str(folder / name)) for name in ("mask.nii.gz", "mask.seg.nrrd")]
    np.testing.assert_array_equal(*map(sitk.GetArrayFromImage, both))
    np.testing.assert_allclose(both[0].GetDirection(), both[1].GetDirection(), atol=1e-3)  # a qform has right angles alone
    for value in prediction.table.values:
        assert (values == value).sum() == (truth == value).sum()
    if not json.loads((folder / "mask.json").read_text())["resampled"]:
        np.testing.assert_array_equal(values, truth)
        np.testing.assert_allclose(mask.affine, affine, atol=1e-3)


@pytest.mark.parametrize("kind", SERIES)
def test_all_formats_hold_the_same_voxels_and_dicom_is_clean(kind: str, tmp_path: Path) -> None:
    folder, reading = series(kind, tmp_path / "in")
    prediction, written = handed_out(folder, tmp_path / "out", **reading)
    same_in_all(prediction, written)
    assert errors_of(written / "mask.seg.dcm") == errors_of(written / "mask.rtstruct.dcm") == []


@pytest.mark.parametrize("case", REAL)
def test_real_series_of_every_kind_agree_too(case: str, shared: Path, tmp_path: Path) -> None:
    prediction, written = handed_out(shared / "dicom" / case, tmp_path)
    same_in_all(prediction, written)
    assert errors_of(written / "mask.seg.dcm") == errors_of(written / "mask.rtstruct.dcm") == []


@pytest.mark.parametrize("kind", ["plain", "tilted", "jittered", "oblique", "enhanced"])
@pytest.mark.parametrize("file", ["mask.seg.dcm", "mask.rtstruct.dcm"])
def test_our_own_reader_gets_the_labels_back(kind: str, file: str, tmp_path: Path) -> None:
    folder, reading = series(kind, tmp_path / "in")
    prediction, written = handed_out(folder, tmp_path / "out", **reading)
    names = {f"*{s.name[-5:]}": s.value for s in TABLE.structures}  # quotes and all
    back = read_label_volume(written / file, like=prediction.image, table=TABLE, structures=names)
    np.testing.assert_array_equal(back.array, prediction.labels.array)


def test_a_mask_without_anything_is_written_as_such(tmp_path: Path) -> None:
    folder, _ = series("plain", tmp_path / "in")
    prediction, written = handed_out(folder, tmp_path / "out", empty=True)
    same_in_all(prediction, written)
    assert errors_of(written / "mask.seg.dcm") == errors_of(written / "mask.rtstruct.dcm") == []
    assert dcmread(written / "mask.seg.dcm").NumberOfFrames == len(TABLE.structures)  # one each: hundreds would say no more


def test_a_zip_gives_what_its_folder_gives(tmp_path: Path) -> None:
    folder, _ = series("plain", tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "sent.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"DICOM/{path.name}")
    _, by_folder = handed_out(folder, tmp_path / "a")
    prediction, by_zip = handed_out(tmp_path / "sent.zip", tmp_path / "b")
    same_in_all(prediction, by_zip)
    uids = [dcmread(written / "mask.seg.dcm").SOPInstanceUID for written in (by_folder, by_zip)]
    assert uids[0] == uids[1]


def test_seg_and_rtstruct_of_an_evened_series_lie_on_the_acquired_slices(tmp_path: Path) -> None:
    datasets = volume_datasets(pixels())
    folder = save([*datasets[:2], *datasets[3:]], tmp_path / "in")  # one slice was lost
    prediction, written = handed_out(folder, tmp_path / "out", accept_irregular=True)
    said = json.loads((written / "mask.json").read_text())
    assert (said["resampled"], said["image"]["geometry"], said["mask_shape"][2]) == (["evened"], "gapped", 5)
    assert {file["name"]: file["exact"] for file in said["files"]} == {
        "mask.nii.gz": False,
        "mask.seg.dcm": True,
        "mask.rtstruct.dcm": True,
        "mask.seg.nrrd": False,
        "mask.labels.txt": False,
        "overlay.png": False,
        "report.html": False,
    }
    assert [entry["number"] for entry in said["slices"]] == [1, 2, 4, 5]
    acquired = np.delete(prediction.labels.array, 2, axis=2)
    plain = np.diag([-0.75, -0.5, 3.0, 1.0])
    plain[:3, 3] = (100, 120, 40)
    place = {0: 0, 1: 1, 3: 2, 4: 3}  # of the slices before one was lost
    for masks in (seg_masks, rtstruct_masks):
        found = masks(written / f"mask.{masks.__name__.partition('_')[0]}.dcm", plain, (22, 18, 5))
        for structure in TABLE.structures:
            assert not found[structure.name][:, :, 2].any()
            for there, k in place.items():
                np.testing.assert_array_equal(found[structure.name][:, :, there], acquired[:, :, k] == structure.value)
    assert errors_of(written / "mask.seg.dcm") == errors_of(written / "mask.rtstruct.dcm") == []


def test_structures_that_overlap_keep_their_own_voxels_in_every_format(tmp_path: Path) -> None:
    from dataclasses import replace

    from pipeline.inference.prediction import structure_volumes
    from pipeline.labels import label_table

    folder, _ = series("oblique", tmp_path / "in")
    image = read_volume(folder)
    table = label_table({"whole tumour": 1, "core": 2}, overlapping=True)
    array = np.zeros((*image.shape, 2), np.uint8)
    array[3:12, 4:12, 1:4, 0] = 1
    array[5:9, 6:9, 2:4, 1] = 1
    labels = replace(image, array=array)
    prediction = Prediction(image=image, labels=labels, table=table, structures=structure_volumes(labels, table))
    formats = chosen_formats({**ALL, "itksnap": False}, image, table)
    written = write_prediction(prediction, tmp_path / "out", formats=formats)
    by_seg = seg_masks(written / "mask.seg.dcm", image.affine, image.shape)
    by_rtstruct = rtstruct_masks(written / "mask.rtstruct.dcm", image.affine, image.shape)
    layers, header = nrrd.read(str(written / "mask.seg.nrrd"))
    for k, structure in enumerate(table.structures):
        np.testing.assert_array_equal(by_seg[structure.name], array[..., k] > 0)
        np.testing.assert_array_equal(by_rtstruct[structure.name], array[..., k] > 0)
        np.testing.assert_array_equal(layers[k], array[..., k] * structure.value)
        assert (header[f"Segment{k}_Layer"], header[f"Segment{k}_LabelValue"]) == (str(k), str(structure.value))
    assert dcmread(written / "mask.seg.dcm").SegmentsOverlap == "YES"
    assert errors_of(written / "mask.seg.dcm") == errors_of(written / "mask.rtstruct.dcm") == []


def test_a_table_whose_structure_is_0_keeps_its_voxels(tmp_path: Path) -> None:
    from pipeline.labels import label_table

    folder, _ = series("plain", tmp_path / "in")
    table = label_table({"background": 255, "a": 0, "b": 1, "c": 2})
    prediction = labelled(read_volume(folder), table)
    formats = chosen_formats(ALL, prediction.image, table)
    written = write_prediction(prediction, tmp_path / "out", formats=formats)
    by_seg = seg_masks(written / "mask.seg.dcm", prediction.labels.affine, prediction.labels.shape)
    values, _ = nrrd.read(str(written / "mask.seg.nrrd"))
    for structure in table.structures:
        np.testing.assert_array_equal(by_seg[structure.name], prediction.labels.array == structure.value)
        np.testing.assert_array_equal(values == structure.value + 1, prediction.labels.array == structure.value)
