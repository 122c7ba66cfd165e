"""Overlays by their pixels: where lines lie, what stays visible, which way up the patient is."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from pipeline.io.volume import Source, Volume
from pipeline.labels import LabelTable, label_table
from pipeline.process import Peak, resident_bytes
from pipeline.report import overlay as overlay_module
from pipeline.report.overlay import mosaic, slice_picture
from pipeline.report.screen import letter_of, scale_bar, window_of
from pipeline.report.sheet import png_bytes
from pipeline.report.turned import turned

TABLE = label_table({"liver": 1, "lesion": 2})
RED = TABLE.structures[0].colour
ALL_48 = ["".join(order) for letters in product("RL", "AP", "SI") for order in permutations(letters)]


def square() -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns): a grey field of 40 x 40 with a square of liver, rows 10 to 29, columns 10 to 29."""
    labels = np.zeros((40, 40), np.uint8)
    labels[10:30, 10:30] = 1
    return np.full((40, 40), 50.0), labels


def coloured(picture: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """(rows, columns): near to the colour."""
    return np.abs(np.asarray(picture).astype(int) - colour).max(axis=2) < 60


def test_line_lies_just_inside_the_structure_and_the_anatomy_stays_visible() -> None:
    picture = slice_picture(*square(), TABLE, window=(0, 100), width_px=400)  # ten pixels a voxel
    line = coloured(picture, RED)
    rows, columns = np.nonzero(line)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (100, 299, 100, 299)
    assert np.asarray(picture)[200, 200].tolist() == [128, 128, 128]
    assert line[150, :].sum() == 4  # two pixels on either side


def test_reference_is_a_white_dashed_line_on_the_edge() -> None:
    image, labels = square()
    picture = slice_picture(image, np.zeros_like(labels), TABLE, window=(0, 100), width_px=400, truth=labels)
    white = coloured(picture, (255, 255, 255))
    edge = white[98:103, 100:300].any(axis=0)
    assert 0.3 < edge.mean() < 0.9
    assert not white[105:295, 105:295].any()


def test_both_of_two_overlapping_structures_are_outlined() -> None:
    table = LabelTable(structures=TABLE.structures, overlapping=True)
    image, labels = square()
    both = np.stack([labels == 1, np.roll(labels == 1, 5, axis=0)], axis=2)
    picture = slice_picture(image, both, table, window=(0, 100), width_px=400)
    assert coloured(picture, RED)[100:102].any() and coloured(picture, table.structures[1].colour)[150:152].any()


def test_line_of_an_enclosed_structure_is_not_covered_by_its_neighbour() -> None:
    image, labels = square()
    labels[15:25, 15:25] = 2
    picture = slice_picture(image, labels, TABLE, window=(0, 100), width_px=400)
    assert coloured(picture, TABLE.structures[1].colour)[150:152, 160:240].all()


def test_structure_at_the_border_is_closed_along_it() -> None:
    image, labels = square()
    labels[:] = 1
    line = coloured(slice_picture(image, labels, TABLE, window=(0, 100), width_px=400), RED)
    inner = slice(10, -10)  # corners are rounded
    edges = line[:2, inner], line[-2:, inner], line[inner, :2], line[inner, -2:]
    assert all(edge.all() for edge in edges)


def test_tall_pixels_make_a_tall_picture() -> None:
    assert slice_picture(*square(), TABLE, window=(0, 100), width_px=200, aspect=2.5).size == (200, 500)


@pytest.mark.parametrize(("value", "grey"), [(-200, 0), (-160, 0), (40, 128), (240, 255), (3000, 255), (np.nan, 0)])
def test_window_turns_hounsfield_units_into_grey(value: float, grey: int) -> None:
    window = window_of(np.zeros((4, 4, 4)), "CT")
    picture = slice_picture(np.full((4, 4), value), np.zeros((4, 4)), TABLE, window=window, width_px=8)
    assert np.asarray(picture)[4, 4].tolist() == [grey] * 3


def test_window_of_an_mr_ignores_a_few_hot_pixels_and_nan() -> None:
    image = np.tile(np.arange(100.0), 100).reshape(100, 100)
    image[0, :50], image[1, :3] = 1e9, np.nan
    low, high = window_of(image, "MR")
    assert 0 <= low < 2 and 97 < high < 100


def scan(axcodes: str, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 3.0)) -> tuple[Volume, Volume]:
    """30 (left to right) x 40 (back to front) x 4 (foot to head), stored in any orientation.

    A bright corner lies at the patient's right front; the liver is in the upper three slices.
    """
    image = np.zeros((30, 40, 4), np.float32)
    image[20:, 30:, :] = 100  # RAS+: the first axis runs to the right
    labels = np.zeros(image.shape, np.uint8)
    labels[2:8, 5:10, 1:] = 1
    affine = np.diag([*spacing_mm, 1.0])
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axcodes))
    turned = affine @ nib.orientations.inv_ornt_aff(turn, image.shape)

    def volume(array: np.ndarray) -> Volume:
        return Volume(array=nib.orientations.apply_orientation(array, turn), affine=turned, modality="MR")

    return volume(image), volume(labels)


@pytest.mark.parametrize("axcodes", ALL_48)
def test_patients_right_is_on_the_left_and_the_front_is_up(axcodes: str) -> None:
    view = turned(*scan(axcodes), None)
    assert view.image.shape == (30, 40, 4)
    assert view.image[:10, :10].min() == 100 and view.image[10:].max() == view.image[:, 10:].max() == 0


@pytest.mark.parametrize("axcodes", ["RAS", "LPI", "SLA", "PIR"])
def test_letters_name_the_sides_they_lie_at(axcodes: str) -> None:
    view = turned(*scan(axcodes), None)
    assert (letter_of(-view.affine[:3, 0]), letter_of(-view.affine[:3, 1])) == ("R", "A")


@pytest.mark.parametrize(("spacing_mm", "letters"), [((9.0, 1.0, 1.0), ("A", "H")), ((1.0, 9.0, 1.0), ("R", "H"))])
def test_sagittal_and_coronal_series_are_shown_in_their_plane_head_up(
    spacing_mm: tuple[float, float, float], letters: tuple[str, str]
) -> None:
    view = turned(*scan("RAS", spacing_mm), None)
    assert (letter_of(-view.affine[:3, 0]), letter_of(-view.affine[:3, 1])) == letters


@pytest.mark.parametrize(("axcodes", "numbers"), [("RAS", [2, 3, 4]), ("RAI", [3, 2, 1]), ("SRA", [2, 3, 4])])
def test_slices_are_numbered_as_the_input_counts_them(axcodes: str, numbers: list[int]) -> None:
    view = turned(*scan(axcodes), None)
    chosen = overlay_module._chosen(view, TABLE, 9)
    assert view.slice_numbers[chosen].tolist() == numbers


def test_slices_spread_over_the_structures_or_over_the_scan_when_there_are_none() -> None:
    image, labels = scan("RAS")
    empty = Volume(array=np.zeros_like(labels.array), affine=labels.affine)
    assert overlay_module._chosen(turned(image, labels, None), TABLE, 2) == [1, 3]
    assert overlay_module._chosen(turned(image, empty, None), TABLE, 9) == [0, 1, 2, 3]
    assert overlay_module._chosen(turned(image, empty, labels), TABLE, 9) == [1, 2, 3]


def test_scale_bar_is_as_long_as_it_says() -> None:
    cell = Image.new("RGB", (400, 300))
    scale_bar(cell, mm_per_px=0.25)  # a quarter of the width is 25 mm: 20 mm is the round length below
    row = np.asarray(cell)[291].max(axis=1) > 200
    assert row.sum() == pytest.approx(80, abs=2)


def test_picture_of_unknown_size_has_neither_bar_nor_letters() -> None:
    array = np.zeros((64, 64, 1), np.uint8)
    source = Source(path=Path("a.png"), kind="picture", spacing_known=False)
    plain = Volume(array=array, affine=np.eye(4), source=source)
    sheet = np.asarray(mosaic(plain, plain, TABLE))
    assert sheet[: sheet.shape[1]].max() == 0  # only the legend below says something
    known = Volume(array=array, affine=np.eye(4), source=Source(path=Path("a.nii"), kind="nifti"))
    assert np.asarray(mosaic(known, known, TABLE))[: sheet.shape[1]].max() == 255


@pytest.mark.parametrize(("shape", "slices"), [((512, 512, 30), 9), ((20, 200, 5), 9), ((300, 10, 8), 6), ((64, 64, 1), 9)])
def test_sheet_fits_a_screen(shape: tuple[int, int, int], slices: int) -> None:
    volume = Volume(array=np.ones(shape, np.uint8), affine=np.diag([1.0, 1.0, 5.0, 1.0]))
    width, height = mosaic(volume, volume, TABLE, slices=slices, title="a long title " * 20).size
    assert 200 < width <= 1100 and 200 < height < 2200


def test_sheet_names_what_is_there_and_what_is_not() -> None:
    image, labels = scan("RAS")
    view = turned(image, labels, labels)
    assert overlay_module._legend(TABLE, view) == [
        ("liver", RED),
        ("reference (dashed)", (255, 255, 255)),
        ("not found: lesion", None),
    ]


def test_a_large_scan_is_drawn_without_a_second_volume() -> None:
    labels = np.full((800, 512, 512), 1, dtype=np.uint8).T  # lesion is nowhere: all of it is looked through
    image = Volume(array=labels, affine=np.diag([-1.0, -1, 3, 1]), modality="CT")
    before, peak = resident_bytes(), Peak()
    mosaic(image, image, TABLE)
    assert peak.bytes() - before < 0.5 * labels.nbytes


def test_labels_of_another_shape_are_refused() -> None:
    image, labels = scan("RAS")
    with pytest.raises(ValueError, match="shape"):
        mosaic(image, Volume(array=labels.array[:-1], affine=labels.affine), TABLE)


def test_same_input_gives_the_same_bytes() -> None:
    assert png_bytes(mosaic(*scan("LPS"), TABLE)) == png_bytes(mosaic(*scan("LPS"), TABLE))


def test_real_scan_shows_each_organ_in_its_colour(shared: Path) -> None:
    from pipeline.io.read import read_volume

    folder = shared / "data" / "abdomen"
    image, labels = (read_volume(folder / kind / "ct_sm.nii.gz") for kind in ("images", "labels"))
    image = Volume(array=image.array, affine=image.affine, modality="CT", source=image.source)
    table = label_table({"spleen": 1, "liver": 5})
    sheet = mosaic(image, labels, table, slices=4)
    assert all(coloured(sheet, structure.colour).sum() > 200 for structure in table.structures)
    columns = {s.name: np.nonzero(coloured(sheet.crop((0, 0, 540, 500)), s.colour))[1].mean() for s in table.structures}
    assert columns["liver"] < columns["spleen"]  # the liver is on the patient's right: the left side of the picture
