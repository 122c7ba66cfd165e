"""Millilitres worked out by hand, and the words around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.inference.prediction import structure_volumes
from pipeline.io.volume import Source, Volume
from pipeline.labels import label_table

ORGAN = label_table({"organ": 1})


def labels_of(voxels: list[tuple[int, ...]], affine: np.ndarray, shape=(10, 10, 10), **source: object) -> Volume:
    array = np.zeros(shape, dtype=np.uint8)
    for voxel in voxels:
        array[voxel] = 1
    where = Source(path=Path("a"), **{"kind": "nifti", **source})
    return Volume(array=array, affine=affine, source=where)


def said(labels: Volume, table=ORGAN) -> str:
    return str(structure_volumes(labels, table)[0])


INSIDE = [(i, j, k) for i in range(2, 7) for j in range(2, 7) for k in range(2, 6)]  # 100 voxels


def test_an_anisotropic_voxel_counts_by_its_edges() -> None:
    assert said(labels_of(INSIDE, np.diag([-0.5, -0.8, 5, 1]))) == "organ: 0.20 ml"  # 100 x 0.5 x 0.8 x 5 mm3 = 200 mm3


def test_a_sheared_voxel_counts_by_its_height_not_by_the_length_of_its_edge() -> None:
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    affine[1, 2] = 3.0  # the step between slices is 5 mm long, the slices lie 4 mm apart
    found = structure_volumes(labels_of(INSIDE, affine), ORGAN)[0]
    assert found.ml == pytest.approx(0.4)  # 100 x 1 x 1 x 4 mm3


@pytest.mark.parametrize("voxel", [(0, 5, 5), (9, 5, 5), (5, 0, 5), (5, 9, 5), (5, 5, 0), (5, 5, 9)])
def test_what_reaches_one_of_the_six_sides_is_at_least_that_much(voxel) -> None:
    assert said(labels_of([*INSIDE, voxel], np.diag([1, 1, 10, 1.0]))) == "organ: >= 1.01 ml"


def test_what_stays_one_voxel_inside_is_whole() -> None:
    inner = [(i, j, k) for i in (1, 8) for j in (1, 8) for k in (1, 8)]
    assert said(labels_of(inner, np.diag([10, 10, 10, 1.0]))) == "organ: 8.00 ml"


def test_one_slice_of_a_patient_cuts_everything_it_shows() -> None:
    assert said(labels_of([(4, 4, 0)], np.diag([10, 10, 10, 1.0]), shape=(9, 9, 1))) == "organ: >= 1.00 ml"


def test_an_absent_structure_is_0_ml_and_said_to_be() -> None:
    assert said(labels_of([], np.eye(4))) == "organ: 0 ml (not found)"


def test_a_tiny_structure_is_not_written_as_nothing() -> None:
    assert said(labels_of([(5, 5, 5)], np.diag([0.5, 0.5, 1.0, 1]))) == "organ: 0.00025 ml"


@pytest.mark.parametrize(
    "source",
    [{"kind": "picture", "spacing_known": False}, {"kind": "picture"}, {"kind": "dicom", "spacing_known": False}],
    ids=["picture", "picture with a pixel size, but no depth", "slice without a thickness"],
)
def test_without_a_known_voxel_there_are_pixels_and_no_ml(source) -> None:
    marked = labels_of([(0, 0, 0), (4, 4, 0)], np.eye(4), shape=(9, 9, 1), **source)
    assert said(marked) == "organ: 2 pixels"
    assert structure_volumes(marked, ORGAN)[0].ml is None
    assert said(labels_of([], np.eye(4), shape=(9, 9, 1), **source)) == "organ: 0 pixels (not found)"


def test_a_stack_of_pictures_with_a_pixel_size_has_a_volume() -> None:
    assert said(labels_of(INSIDE, np.diag([1, 1, 1, 1.0]), kind="picture")) == "organ: 0.10 ml"


def test_overlapping_structures_are_counted_each_in_its_channel() -> None:
    table = label_table({"whole": 1, "core": 2}, overlapping=True)
    array = np.zeros((10, 10, 10, 2), dtype=np.uint8)
    array[2:7, 2:7, 2:6, 0], array[3:5, 3, 3, 1] = 1, 1
    found = structure_volumes(Volume(array=array, affine=np.diag([10, 10, 10, 1.0])), table)
    assert [(f.structure.name, f.voxels, round(f.ml or 0, 6)) for f in found] == [("whole", 100, 100.0), ("core", 2, 2.0)]


def test_a_structure_may_have_the_value_0_where_the_background_has_another() -> None:
    table = label_table({"background": 7, "organ": 0})
    array = np.full((5, 5, 5), 7, dtype=np.uint8)
    array[2, 2, 1:4] = 0
    assert str(structure_volumes(Volume(array=array, affine=np.diag([10, 10, 10, 1.0])), table)[0]) == "organ: 3.00 ml"
