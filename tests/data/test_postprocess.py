"""Post-processing on label volumes made by hand: what must go, what must stay, and what a hole is."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.data.postprocess import Steps, from_json, postprocess, to_json
from pipeline.labels import label_table

TABLE = label_table({"background": 9, "organ": 1, "lesion": 4})
LARGEST, HOLES = Steps(largest=True), Steps(holes=True)


def volume(*slices: str) -> np.ndarray:
    """Rows of letters: . background, o organ, l lesion; one text a slice. (slices, rows, columns)."""
    values = {".": 9, "o": 1, "l": 4}
    return np.array([[[values[c] for c in row] for row in text.split()] for text in slices], dtype=np.uint8)


def check(before: np.ndarray, after: np.ndarray, **steps: Steps) -> None:
    given = before.copy()
    assert postprocess(given, TABLE, steps, 0.5) is given  # where they stand: a large scan's labels are not held twice
    np.testing.assert_array_equal(given, after)


def test_only_the_largest_piece_stays_and_the_rest_is_background():
    check(volume("oo... oo..o ....o ....."), volume("oo... oo... ..... ....."), organ=LARGEST)


def test_pieces_that_touch_at_a_corner_or_across_slices_are_one():
    before = volume("o.... .o... ....o .....", "..... ..... ..o.. .....")
    check(before, volume("o.... .o... ..... .....", "..... ..... ..o.. ....."), organ=LARGEST)


def test_pieces_below_the_size_go_and_one_of_exactly_the_size_stays():
    """A voxel has 0.5 ml: pieces of 4, 2 and 1 voxels are 2, 1 and 0.5 ml."""
    check(volume("oo..o oo..o ..... o...."), volume("oo..o oo..o ..... ....."), organ=Steps(smallest_ml=1.0))
    check(volume("oo..o oo..o"), volume("..... ....."), organ=Steps(smallest_ml=2.5))


def test_each_structure_has_its_own_steps():
    check(volume("oo..l oo... o...l ....l"), volume("oo... oo... o...l ....l"), lesion=LARGEST)
    check(volume("oo..l oo... ....o ....l"), volume("oo..l oo... ..... ....l"), organ=LARGEST)


RING = "..... .ooo. .o.o. .ooo. ....."
FULL = "..... .ooo. .ooo. .ooo. ....."


def test_a_hole_is_closed_on_all_sides():
    check(volume(FULL, RING, FULL), volume(FULL, FULL, FULL), organ=HOLES)
    check(volume(FULL, RING, RING), volume(FULL, RING, RING), organ=HOLES)  # open to the end of the scan
    tunnel = "..... .o.o. .o.o. .ooo. ....."
    check(volume(FULL, tunnel, FULL), volume(FULL, tunnel, FULL), organ=HOLES)


def test_in_a_single_slice_a_hole_is_closed_within_the_slice():
    check(volume(RING), volume(FULL), organ=HOLES)
    check(np.moveaxis(volume(RING), 0, 2), np.moveaxis(volume(FULL), 0, 2), organ=HOLES)


def test_a_diagonal_wall_closes_a_hole():
    check(volume("..o.. .o.o. ..o.."), volume("..o.. .ooo. ..o.."), organ=HOLES)


def test_background_at_the_edge_of_the_volume_is_no_hole():
    check(volume(".ooo o..o oooo"), volume(".ooo oooo oooo"), organ=HOLES)
    check(volume("o.oo o..o oooo"), volume("o.oo o..o oooo"), organ=HOLES)


def test_a_lesion_within_an_organ_is_no_hole_but_the_gap_around_it_is():
    check(volume("ooooo o.l.o ooooo"), volume("ooooo ooloo ooooo"), organ=HOLES)


def test_structures_are_treated_in_the_order_of_the_table():
    """The organ comes first: its hole is filled around the islet of lesion, which goes afterwards and leaves background."""
    before = volume("ooooo.ll oll.o.ll ooooo.ll")
    check(before, volume("ooooo.ll o..oo.ll ooooo.ll"), organ=HOLES, lesion=LARGEST)


def test_overlapping_structures_do_not_touch_each_other():
    table = label_table({"whole": 1, "core": 2}, overlapping=True)
    whole = (volume("oo..o oo...") == 1).astype(np.uint8)
    core = (volume("o...o .....") == 1).astype(np.uint8)
    found = postprocess(np.stack([whole, core], axis=-1), table, {"whole": LARGEST}, 1.0)
    np.testing.assert_array_equal(found[..., 0], volume("oo... oo...") == 1)
    np.testing.assert_array_equal(found[..., 1], core)


def test_the_steps_of_one_structure_come_pieces_first_holes_last():
    check(volume("ooo.o o.o.. ooo.."), volume("ooo.. ooo.. ooo.."), organ=Steps(smallest_ml=1.0, largest=True, holes=True))


def test_a_structure_whose_value_is_zero():
    table = label_table({"background": 9, "organ": 0})
    found = postprocess(np.where(volume("oo..o oo...") == 1, 0, 9).astype(np.uint8), table, {"organ": LARGEST}, 1.0)
    np.testing.assert_array_equal(found == 0, volume("oo... oo...") == 1)


def test_an_absent_structure_and_no_steps_leave_everything():
    before = volume("..... .oo..")
    check(before, before)
    check(before, before, lesion=Steps(largest=True, holes=True, smallest_ml=3))


def test_against_scipy_s_own_filling_on_random_volumes():
    from scipy.ndimage import binary_fill_holes

    random = np.random.default_rng(0)
    for _ in range(20):
        mask = random.random((6, 7, 8)) < 0.75
        labels = np.where(mask, 1, 9).astype(np.uint8)
        np.testing.assert_array_equal(postprocess(labels, TABLE, {"organ": HOLES}, 1.0) == 1, binary_fill_holes(mask))


def test_what_is_written_is_what_is_read():
    chosen = {"organ": Steps(smallest_ml=0.25, holes=True), "lesion": Steps()}
    assert from_json(to_json(chosen), TABLE) == {"organ": Steps(smallest_ml=0.25, holes=True)}


@pytest.mark.parametrize(
    "data",
    [
        {"kidney": {"largest": True}},
        {"organ": {"smallest": 3}},
        {"organ": {"largest": "yes"}},
        {"organ": {"smallest_ml": -1}},
        {"organ": {"smallest_ml": float("nan")}},
    ],
)
def test_steps_that_make_no_sense_are_refused(data):
    with pytest.raises((ValueError, TypeError)):
        from_json(data, TABLE)
