"""The rules by which contours and segments become voxels, each with what is said about it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
import pytest
from made_labels import rtstruct, segmentation
from made_series import noise, save, volume_datasets
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from test_dicom_labels import TABLE, mm, square

from pipeline.errors import UserError
from pipeline.io.dicom.rtstruct import filled
from pipeline.io.read import read_label_volume, read_volume
from pipeline.io.volume import Volume
from pipeline.labels import label_table


@pytest.fixture
def image(tmp_path: Path) -> Volume:
    """5 slices of 12 rows and 12 columns; pixels of 0.75 x 0.5 mm, slices 3 mm apart from z = 40 on."""
    return read_volume(save(sources(), tmp_path / "image"))


def sources() -> list[Dataset]:
    return volume_datasets(noise(5, 12, 12))


def notices(volume: Volume) -> dict[str, str]:
    return {notice.code: notice.sentence for notice in volume.source.notices}


def test_vertices_on_pixel_centres_take_the_low_side_and_leave_the_high_one() -> None:
    on_centres = np.array([[2, 1], [5, 1], [5, 4], [2, 4]], dtype=float)
    expected = np.zeros((8, 6), dtype=bool)
    expected[2:5, 1:4] = True
    for points in (on_centres, on_centres[::-1], np.roll(on_centres, 2, axis=0), on_centres + 3e-7):
        np.testing.assert_array_equal(filled([points], (8, 6)), expected)


def test_boxes_side_by_side_on_pixel_centres_share_no_pixel_and_leave_none_out() -> None:
    edges = (0, 2, 3, 7)
    total = np.zeros((8, 8), dtype=int)
    for low_c, high_c in pairwise(edges):
        for low_r, high_r in pairwise(edges):
            box = np.array([[low_c, low_r], [high_c, low_r], [high_c, high_r], [low_c, high_r]], dtype=float)
            total += filled([box], (8, 8))
    assert (total[:7, :7] == 1).all() and total[7].sum() == total[:, 7].sum() == 0


def test_a_hole_joined_to_the_outline_by_a_channel_of_no_width_is_a_hole(image: Volume, tmp_path: Path) -> None:
    outer = [(0.5, 0.5), (8.5, 0.5), (8.5, 8.5), (0.5, 8.5), (0.5, 4.0)]
    inner = [(3.5, 4.0), (3.5, 5.5), (5.5, 5.5), (5.5, 3.5), (3.5, 3.5), (3.5, 4.0)]
    keyhole = [*outer, *inner, (0.5, 4.0)]  # along row 4 to the hole, round it and back
    path = rtstruct(tmp_path / "rs.dcm", {"tumour": [[v for c, r in keyhole for v in mm(c, r, 43)]]})
    mask = read_label_volume(path, like=image, table=TABLE).array[:, :, 1]
    expected = np.zeros((12, 12), dtype=bool)
    expected[1:9, 1:9] = True
    expected[4:6, 4:6] = False
    np.testing.assert_array_equal(mask == 1, expected)


def test_a_contour_between_slices_with_contours_of_their_own_is_left_out_with_a_word(image: Volume, tmp_path: Path) -> None:
    contours = [square(0.5, 3.5, z) for z in (40, 41.5, 43, 44.4, 46)]
    mask = read_label_volume(rtstruct(tmp_path / "rs.dcm", {"tumour": contours}), like=image, table=TABLE)
    assert [(mask.array[:, :, k] == 1).sum() for k in range(5)] == [9, 9, 9, 0, 0]
    assert notices(mask)["contours-between"] == (
        "2 contours of tumour lie up to 1.50 mm off the slices, between two that have their own, and are left out"
    )


def test_a_contour_between_slices_is_refused_where_one_neighbour_has_none(image: Volume, tmp_path: Path) -> None:
    path = rtstruct(tmp_path / "rs.dcm", {"tumour": [square(0.5, 3.5, 43), square(0.5, 3.5, 44.5)]})
    with pytest.raises(UserError, match=r"a contour of 'tumour' lies 1.50 mm from the nearest slice"):
        read_label_volume(path, like=image, table=TABLE)
    other = rtstruct(
        tmp_path / "rs2.dcm", {"tumour": [square(0.5, 3.5, 44.5)], "node": [square(0.5, 3.5, z) for z in (43, 46)]}
    )
    with pytest.raises(UserError, match="from the nearest slice"):  # the neighbours' contours are another region's
        read_label_volume(other, like=image, table=TABLE)


def test_the_same_contour_twice_is_no_hole(image: Volume, tmp_path: Path) -> None:
    once = square(0.5, 3.5, 43)
    backwards = [v for k in (6, 3, 0, 9) for v in once[k : k + 3]]
    mask = read_label_volume(rtstruct(tmp_path / "rs.dcm", {"tumour": [once, once, backwards]}), like=image, table=TABLE)
    assert (mask.array == 1).sum() == 9
    assert "2 contours of tumour are there twice" in notices(mask)["contours-twice"]


def test_a_region_without_a_contour_is_told_and_an_object_without_any_is_refused(image: Volume, tmp_path: Path) -> None:
    path = rtstruct(tmp_path / "rs.dcm", {"tumour": [], "node": [square(0.5, 3.5, 43)]})
    assert notices(read_label_volume(path, like=image, table=TABLE))["structure-empty"] == "no contour on this series: tumour"
    dataset = pydicom.dcmread(path)
    tag = Tag("ROIContourSequence")
    dataset._dict[tag] = RawDataElement(tag, "OB", 4, b"\0\1\2\3", 0, False, True)
    dataset.save_as(path)
    with pytest.raises(UserError, match="there are no contours in it"):
        read_label_volume(path, like=image, table=TABLE)


def test_contours_of_a_region_that_is_not_named_are_not_left_out(image: Volume, tmp_path: Path) -> None:
    path = rtstruct(tmp_path / "rs.dcm", {"tumour": [square(0.5, 3.5, 43)], "node": [square(0.5, 3.5, 46)]})
    dataset = pydicom.dcmread(path)
    tag = Tag("ReferencedROINumber")
    dataset.ROIContourSequence[0]._dict[tag] = RawDataElement(tag, "IS", 2, b"1!", 0, False, True)
    dataset.save_as(path)
    with pytest.raises(UserError, match="the contours of 'tumour' are damaged"):
        read_label_volume(path, like=image, table=TABLE)


def test_a_region_without_a_number_is_refused(image: Volume, tmp_path: Path) -> None:
    path = rtstruct(tmp_path / "rs.dcm", {"tumour": [square(0.5, 3.5, 43)]})
    dataset = pydicom.dcmread(path)
    del dataset.StructureSetROISequence[0].ROINumber
    dataset.save_as(path)
    with pytest.raises(UserError, match="the region 'tumour' has no number"):
        read_label_volume(path, like=image, table=TABLE)


def test_coordinates_beyond_any_patient_are_refused(image: Volume, tmp_path: Path) -> None:
    far = square(0.5, 3.5, 43)
    far[3] = 1e9
    with pytest.raises(UserError, match=r"a contour of 'tumour' lies 1e\+09 mm away"):
        read_label_volume(rtstruct(tmp_path / "rs.dcm", {"tumour": [far]}), like=image, table=TABLE)


def test_without_a_series_the_frame_of_reference_decides(image: Volume, tmp_path: Path) -> None:
    path = rtstruct(tmp_path / "rs.dcm", {"tumour": [square(0.5, 3.5, 43)]}, series="")
    assert "series-unchecked" in notices(read_label_volume(path, like=image, table=TABLE))
    dataset = pydicom.dcmread(path)
    dataset.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.2.3"
    dataset.save_as(path)
    with pytest.raises(UserError, match="its frame of reference is not the image's"):
        read_label_volume(path, like=image, table=TABLE)


def test_overlaps_are_counted_pair_by_pair(image: Volume, tmp_path: Path) -> None:
    table = label_table({"a": 1, "b": 2, "c": 3})
    path = rtstruct(
        tmp_path / "rs.dcm", {"c": [square(4.5, 7.5, 40)], "b": [square(2.5, 5.5, 40)], "a": [square(0.5, 3.5, 40)]}
    )
    mask = read_label_volume(path, like=image, table=table)
    assert [(mask.array == value).sum() for value in (1, 2, 3)] == [9, 8, 8]
    assert notices(mask)["structures-overlap"].endswith("voxels: 1 in both a and b, 1 in both b and c")


def test_a_label_map_object_lands_on_its_voxels_without_its_empty_frames(image: Volume, tmp_path: Path) -> None:
    mask = np.zeros((5, 12, 12), dtype=np.uint8)
    mask[1, 2, 3:6], mask[4, 0:3, 7] = 1, 2
    path = segmentation(tmp_path / "seg.dcm", sources(), mask, TABLE.names, kind="LABELMAP")
    assert int(pydicom.dcmread(path).NumberOfFrames) < 5
    found = read_label_volume(path, like=image, table=TABLE)
    np.testing.assert_array_equal(found.array, mask.transpose(2, 1, 0))


def test_fractions_count_from_half_on_and_the_threshold_is_told(image: Volume, tmp_path: Path) -> None:
    fractions = np.zeros((5, 12, 12))
    fractions[2, 5, 2:6] = (0.49, 0.5, 0.51, 1.0)
    settings = {"kind": "FRACTIONAL", "max_fractional_value": 200}
    path = segmentation(tmp_path / "seg.dcm", sources(), fractions, TABLE.names[:1], **settings)
    found = read_label_volume(path, like=image, table=TABLE)
    assert np.argwhere(found.array == 1).tolist() == [[c, 5, 2] for c in (3, 4, 5)]
    assert notices(found)["fractional"] == "fractional segmentation: a voxel counts as inside from 100 of 200 on"


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("SegmentationType", "", "of an unknown type"),
        ("BitsStored", [1, 3, 5], r"is damaged \(BitsStored\)"),
        ("BitsStored", 0, "is damaged"),
        ("SamplesPerPixel", 3, r"is damaged \(SamplesPerPixel"),
        ("PerFrameFunctionalGroupsSequence", [], "does not say where its frames lie"),
        ("Rows", 6, "bytes of pixels, the header says"),
        ("Rows", 13, "the segmentation is truncated"),
    ],
)
def test_a_damaged_segmentation_is_refused(keyword: str, value: object, reason: str, image: Volume, tmp_path: Path) -> None:
    mask = np.zeros((5, 12, 12), dtype=np.uint8)
    mask[1, 2, 3:6] = 1
    path = segmentation(tmp_path / "seg.dcm", sources(), mask, TABLE.names)
    dataset = pydicom.dcmread(path)
    setattr(dataset, keyword, value)
    dataset.save_as(path)
    with pytest.raises(UserError, match=reason):
        read_label_volume(path, like=image, table=TABLE)
