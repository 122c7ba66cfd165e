"""What was written is read back before it counts: a damaged file, a changed series, a broken outline are found."""

from __future__ import annotations

import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_predictions import handed_out, labelled, pixels, series
from made_series import save, volume_datasets
from matplotlib.path import Path as Polygon
from pydicom import Dataset, dcmread

from pipeline.errors import UserError
from pipeline.handout.folder import write_prediction
from pipeline.handout.formats import chosen_formats
from pipeline.handout.outlines import outlines
from pipeline.handout.planes import source_planes
from pipeline.handout.rtstruct import verify_rtstruct
from pipeline.handout.seg import verify_seg, write_seg
from pipeline.handout.seg_frames import append_frames
from pipeline.handout.study import study_of
from pipeline.inference.prediction import Prediction, structure_volumes
from pipeline.io.read import read_volume
from pipeline.labels import label_table


def flip_a_bit(dataset: Dataset) -> None:
    data = bytearray(dataset.PixelData)
    data[len(data) // 2] ^= 16
    dataset.PixelData = bytes(data)


def swap_two_frames_references(dataset: Dataset) -> None:
    frames = dataset.PerFrameFunctionalGroupsSequence
    first, second = frames[0].DerivationImageSequence, frames[1].DerivationImageSequence
    frames[0].DerivationImageSequence, frames[1].DerivationImageSequence = second, first


def move_a_frame(dataset: Dataset) -> None:
    place = dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    place.ImagePositionPatient = [
        place.ImagePositionPatient[0],
        place.ImagePositionPatient[1] + 0.5,
        place.ImagePositionPatient[2],
    ]


def lose_the_last_frame(dataset: Dataset) -> None:
    dataset.PerFrameFunctionalGroupsSequence = list(dataset.PerFrameFunctionalGroupsSequence)[:-1]


@pytest.mark.parametrize("fault", [flip_a_bit, swap_two_frames_references, move_a_frame, lose_the_last_frame])
def test_a_faulty_seg_is_found(fault, tmp_path: Path) -> None:
    prediction, written = handed_out(series("plain", tmp_path / "in")[0], tmp_path / "out")
    study, planes = study_of(prediction.image.source), source_planes(prediction)
    verify_seg(written / "mask.seg.dcm", study, planes)
    dataset = dcmread(written / "mask.seg.dcm")
    fault(dataset)
    dataset.save_as(tmp_path / "faulty.dcm")
    with pytest.raises(RuntimeError, match=r"(of|in) the written SEG"):
        verify_seg(tmp_path / "faulty.dcm", study, planes)


def test_memory_does_not_grow_with_the_frames_of_a_seg(tmp_path: Path) -> None:
    """As objects they took 17 MB; what the slices take, whatever is in them, is 2 MB."""
    image = read_volume(save(volume_datasets(np.zeros((30, 24, 22), dtype=np.uint16)), tmp_path / "in"))
    table = label_table({f"organ {number}": number for number in range(1, 41)})
    rows = np.arange(1, 25)[None, :, None] + 20 * (np.arange(22)[:, None, None] > 10)
    labels = replace(image, array=np.broadcast_to(rows.clip(max=40), image.shape).astype(np.uint8, order="F"))
    prediction = Prediction(image=image, labels=labels, table=table, structures=structure_volumes(labels, table))
    study = study_of(image.source)
    write_seg(prediction, study, tmp_path / "once.dcm")  # loads what stays
    tracemalloc.start()
    try:
        write_seg(prediction, study, tmp_path / "again.dcm")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert dcmread(tmp_path / "again.dcm").NumberOfFrames == 40 * 30
    assert peak < 4e6


def test_more_pixels_than_an_object_can_hold_are_refused(tmp_path: Path) -> None:
    prediction, written = handed_out(series("plain", tmp_path / "in")[0], tmp_path / "out")
    study, planes = study_of(prediction.image.source), np.ones((1, 512, 512), dtype=np.uint8)
    like = dcmread(written / "mask.seg.dcm").PerFrameFunctionalGroupsSequence[0]
    with pytest.raises(UserError, match=r"no more than 4 GiB; 131072 frames of 512 x 512 are more.*--no-seg"):
        append_frames(tmp_path / "mask.seg.dcm", [(0, 0)] * 131072, planes, study, like)
    assert not (tmp_path / "mask.seg.dcm").exists()


def move_a_point(contour: Dataset) -> None:
    contour.ContourData = [float(contour.ContourData[0]) + 3, *contour.ContourData[1:]]


def lift_a_contour(contour: Dataset) -> None:
    contour.ContourData = [float(mm) + (0.3 if k % 3 == 2 else 0) for k, mm in enumerate(contour.ContourData)]


@pytest.mark.parametrize("fault", [move_a_point, lift_a_contour])
def test_a_faulty_rtstruct_is_found(fault, tmp_path: Path) -> None:
    prediction, written = handed_out(series("plain", tmp_path / "in")[0], tmp_path / "out")
    study, planes = study_of(prediction.image.source), source_planes(prediction)
    dataset = dcmread(written / "mask.rtstruct.dcm")
    fault(dataset.ROIContourSequence[0].ContourSequence[1])
    dataset.save_as(tmp_path / "faulty.dcm")
    with pytest.raises(RuntimeError, match="of the written RTSTRUCT"):
        verify_rtstruct(tmp_path / "faulty.dcm", study, planes)


def remove(folder: Path) -> None:
    (folder / "003.dcm").unlink()


def replace_by_another(folder: Path) -> None:
    shutil.copy(folder / "004.dcm", folder / "003.dcm")


def truncate(folder: Path) -> None:
    (folder / "003.dcm").write_bytes((folder / "003.dcm").read_bytes()[:200])


def shift(folder: Path) -> None:
    dataset = dcmread(folder / "003.dcm")
    dataset.ImagePositionPatient = [0, 0, 46]
    dataset.save_as(folder / "003.dcm")


@pytest.mark.parametrize("change", [remove, replace_by_another, truncate, shift])
def test_a_series_that_changed_meanwhile_is_refused_and_nothing_is_left(change, tmp_path: Path) -> None:
    folder = save(volume_datasets(pixels()), tmp_path / "in")
    prediction = labelled(read_volume(folder))
    formats = chosen_formats({"seg": None}, prediction.image, prediction.table)
    change(folder)
    with pytest.raises(UserError, match=r"003\.dcm: the file .*: the series changed while it was being segmented"):
        write_prediction(prediction, tmp_path / "out", formats=formats)
    assert not list((tmp_path / "out").rglob("*"))


def test_outlines_enclose_the_mask_exactly_whether_contours_are_united_or_subtracted() -> None:
    random = np.random.default_rng(0)
    for share in np.tile([0.2, 0.5, 0.7, 0.9, 0.97], 40):
        mask = random.random(random.integers(1, 13, 2)) < share
        rows, columns = mask.shape
        centres = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
        found = outlines(mask)
        inside = [Polygon(np.vstack([p, p[:1]]), closed=True).contains_points(centres).reshape(mask.shape) for p in found]
        np.testing.assert_array_equal(np.any(inside, axis=0) if found else False & mask, mask)
        np.testing.assert_array_equal(np.sum(inside, axis=0) % 2 == 1 if found else False & mask, mask)
        areas = [np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2 for x, y in (p.T for p in found)]
        assert sum(areas) == mask.sum()  # in pixels: nothing shrinks


def test_an_outline_of_a_ring_is_known_by_hand() -> None:
    ring = np.ones((3, 3), dtype=bool)
    ring[1, 1] = False
    (outline,) = outlines(ring)
    assert len(outline) == 4 + 4 + 2  # corners outside, corners inside, two where the slit leaves the left side
    assert {tuple(point) for point in outline.tolist()} >= {(-0.5, -0.5), (2.5, 2.5), (0.5, 0.5), (1.5, 1.5), (-0.5, 0.5)}
    assert [len(p) for p in outlines(np.eye(2, dtype=bool))] == [4, 4]  # pixels that touch at a corner stay apart
