"""RTSTRUCT and SEG objects on the grid of their series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_labels import rtstruct, segmentation
from made_series import noise, save, volume_datasets

from pipeline.errors import UserError
from pipeline.io.dicom.rtstruct import filled
from pipeline.io.read import read_label_volume, read_volume
from pipeline.io.volume import Volume
from pipeline.labels import label_table

TABLE = label_table({"tumour": 1, "node": 2})
NAMES = ("Tumour left", "Node")  # of the segments


@pytest.fixture
def image(tmp_path: Path) -> Volume:
    """5 slices of 6 rows and 8 columns; pixels of 0.75 x 0.5 mm, slices 3 mm apart from z = 40 on."""
    return read_volume(save(volume_datasets(noise()), tmp_path / "image"))


def mm(column: float, row: float, z: float) -> list[float]:
    return [-100 + 0.75 * column, -120 + 0.5 * row, z]


def square(low: float, high: float, z: float) -> list[float]:
    return [v for point in ((low, low), (high, low), (high, high), (low, high)) for v in mm(*point, z)]


def test_a_polygon_takes_the_pixels_whose_centres_lie_inside() -> None:
    triangle = np.array([[0.5, 0.5], [4.5, 0.5], [0.5, 4.5]])
    assert filled([triangle], (6, 5)).T.astype(int).tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_a_contour_in_a_contour_is_a_hole_and_borders_are_shared_by_nobody() -> None:
    def box(low: float, high: float) -> np.ndarray:
        return np.array([[low, low], [high, low], [high, high], [low, high]])

    assert filled([box(0.5, 5.5), box(1.5, 4.5)], (7, 7)).sum() == 25 - 9
    assert filled([box(1, 3)], (7, 7)).sum() + filled([box(3, 5)], (7, 7)).sum() == 8
    assert not (filled([box(1, 3)], (7, 7)) & filled([box(3, 5)], (7, 7))).any()


def test_a_polygon_beyond_the_image_is_cut_at_its_border() -> None:
    assert filled([np.array([[-9.5, -9.5], [2.5, -9.5], [2.5, 99.5], [-9.5, 99.5]])], (5, 4)).sum() == 3 * 4


def test_contours_lie_on_the_slice_of_their_millimetres(image: Volume, tmp_path: Path) -> None:
    path = rtstruct(
        tmp_path / "rs.dcm", {"GTV_Mass": [square(0.5, 3.5, 46), square(1.5, 2.5, 46)], "Node": [square(2.5, 4.5, 40)]}
    )
    mask = read_label_volume(path, like=image, table=TABLE, structures={"gtv*": 1, "node": 2})
    assert [(mask.array[:, :, k] == 1).sum() for k in range(5)] == [0, 0, 8, 0, 0]
    assert np.argwhere(mask.array == 2).tolist() == [[c, r, 0] for c in (3, 4) for r in (3, 4)]
    np.testing.assert_array_equal(mask.affine, image.affine)


def test_a_contour_between_slices_is_refused_with_its_distance(image: Volume, tmp_path: Path) -> None:
    path = rtstruct(tmp_path / "rs.dcm", {"tumour": [square(0.5, 3.5, 44.5)]})
    with pytest.raises(
        UserError, match=r"a contour of 'tumour' lies 1.50 mm from the nearest slice \(they are 3.00 mm apart\)"
    ):
        read_label_volume(path, like=image, table=TABLE)


def test_a_contour_across_the_slices_is_refused(image: Volume, tmp_path: Path) -> None:
    upright = [v for point in ((1, 1, 40), (3, 1, 40), (3, 1, 46), (1, 1, 46)) for v in mm(*point)]
    with pytest.raises(UserError, match=r"not parallel to the slices \(it spans 6.00 mm"):
        read_label_volume(rtstruct(tmp_path / "rs.dcm", {"tumour": [upright]}), like=image, table=TABLE)


def test_contours_beyond_the_stack_and_points_are_told(image: Volume, tmp_path: Path) -> None:
    path = rtstruct(tmp_path / "rs.dcm", {"tumour": [square(0.5, 3.5, 40), square(0.5, 3.5, 58)]})
    mask = read_label_volume(path, like=image, table=TABLE)
    assert (mask.array == 1).sum() == 9
    sentences = [n.sentence for n in mask.source.notices]
    assert "not in this object: node" in sentences
    assert "1 contours of tumour lie above or below the series and are left out" in sentences
    points = rtstruct(tmp_path / "points.dcm", {"tumour": [square(0.5, 3.5, 40)]}, kind="POINT")
    notices = read_label_volume(points, like=image, table=TABLE).source.notices
    assert any("enclose nothing" in n.sentence for n in notices)


def test_structures_of_another_series_are_refused(image: Volume, tmp_path: Path) -> None:
    path = rtstruct(tmp_path / "rs.dcm", {"tumour": [square(0.5, 3.5, 40)]}, series="1.2.3.87654321")
    with pytest.raises(UserError, match=r"belongs to the series ...12387654321|belongs to the series ...87654321"):
        read_label_volume(path, like=image, table=TABLE)


def test_names_that_do_not_occur_are_answered_with_those_that_do(image: Volume, tmp_path: Path) -> None:
    path = rtstruct(tmp_path / "rs.dcm", {"Tumor_1": [square(0.5, 3.5, 40)]})
    with pytest.raises(UserError, match=r"no region fits .*Tumor_1"):
        read_label_volume(path, like=image, table=TABLE)


def test_a_folder_with_two_label_objects_is_a_question(image: Volume, tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        rtstruct(tmp_path / "labels" / name, {"tumour": [square(0.5, 3.5, 40)]})
    with pytest.raises(UserError, match=r"2 label objects belong to the image: a.dcm, b.dcm"):
        read_label_volume(tmp_path / "labels", like=image, table=TABLE)


def test_overlapping_structures_keep_both_or_the_first(image: Volume, tmp_path: Path) -> None:
    path = rtstruct(tmp_path / "rs.dcm", {"tumour": [square(0.5, 3.5, 40)], "node": [square(2.5, 4.5, 40)]})
    both = read_label_volume(path, like=image, table=label_table({"tumour": 1, "node": 2}, overlapping=True))
    assert both.array.sum(axis=(0, 1, 2)).tolist() == [9, 4]
    first = read_label_volume(path, like=image, table=TABLE)
    assert [(first.array == v).sum() for v in (1, 2)] == [9, 3]
    assert any("1 in both tumour and node" in n.sentence for n in first.source.notices)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("fractional", [False, True])
def test_a_segmentation_by_another_library_lands_on_its_voxels(
    reverse: bool, fractional: bool, image: Volume, tmp_path: Path
) -> None:
    mask = np.zeros((5, 6, 8), dtype=np.uint8)
    mask[1, 2, 3:6], mask[4, 0, 7] = 1, 2
    sources, pixels = volume_datasets(noise()), mask
    if reverse:
        sources, pixels = sources[::-1], np.ascontiguousarray(mask[::-1])
    path = segmentation(tmp_path / "seg.dcm", sources, pixels, NAMES, kind="FRACTIONAL" if fractional else "BINARY")
    found = read_label_volume(path, like=image, table=TABLE, structures={"tumour*": 1, "node": 2})
    np.testing.assert_array_equal(found.array, mask.transpose(2, 1, 0))


def test_a_segmentation_on_another_grid_is_refused_with_the_distance(tmp_path: Path) -> None:
    mask = np.zeros((5, 6, 8), dtype=np.uint8)
    mask[1, 2, 3] = 1
    path = segmentation(tmp_path / "seg.dcm", volume_datasets(noise()), mask, NAMES)
    moved = read_volume(save(volume_datasets(noise(), first=(-100.3, -120, 40)), tmp_path / "moved"))
    with pytest.raises(UserError, match=r"does not lie on the image's grid: pixels miss the voxels by up to 0.30 mm"):
        read_label_volume(path, like=moved, table=TABLE, structures={"tumour*": 1})
