"""Three planes of a scan: on the right side, the right way up, in one scale, with letters that say so."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from pipeline.io.volume import Source, Volume
from pipeline.report import planes
from pipeline.report.planes import three_planes

ALL_48 = ["".join(order) for letters in product("RL", "AP", "SI") for order in permutations(letters)]
SHAPE_MM = np.array([61.0, 82.0, 100.0])  # right-left, front-back, head-feet; an odd number of voxels has a middle
WHITE = 250


def phantom(axcodes: str, spacing_mm: tuple[float, float, float] = (1.0, 2.0, 4.0)) -> Volume:
    """Black, with a white block in the right front upper eighth, stored along the given axes."""
    ras = np.zeros((SHAPE_MM / spacing_mm).astype(int), dtype=np.int16)
    half = [n // 2 for n in ras.shape]
    ras[half[0] + 1 :, half[1] + 1 :, half[2] + 1 :] = 1000
    for axis in range(3):  # also on the middle planes, so that each plane shows its quarter
        ras[tuple(slice(half[a], half[a] + 1) if a == axis else slice(half[a] + 1, None) for a in range(3))] = 1000
    image = nibabel.Nifti1Image(ras, np.diag([*spacing_mm, 1]))
    wanted = nibabel.orientations.axcodes2ornt(axcodes)
    turned = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.orientations.io_orientation(image.affine), wanted))
    source = Source(path=Path("phantom"), kind="nifti")
    return Volume(array=np.asarray(turned.dataobj), affine=turned.affine, modality="MR", source=source)


def cells(scan: Volume, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The planes as they are pasted, (rows, columns) in grey, in the order axial, coronal, sagittal."""
    found: list[np.ndarray] = []
    paste = planes._cell

    def spy(scan, axis, picture, *more):
        found.append(np.asarray(picture.convert("L")))
        return paste(scan, axis, picture, *more)

    monkeypatch.setattr(planes, "_cell", spy)
    three_planes(scan)
    return found


@pytest.mark.parametrize("axcodes", ALL_48)
def test_right_is_on_the_left_front_and_head_are_up_whatever_the_order_of_the_axes(axcodes: str, monkeypatch) -> None:
    shown = cells(phantom(axcodes), monkeypatch)
    assert len(shown) == 3
    for cell in shown:  # right front upper: the upper left quarter, but for a sagittal plane, whose left side is the front
        down, aside = np.argwhere(cell > WHITE).mean(axis=0) / cell.shape
        assert 0.15 < down < 0.35 and 0.15 < aside < 0.35


def test_all_planes_have_one_scale_and_the_pixels_shape_of_the_header(monkeypatch) -> None:
    axial, coronal, sagittal = cells(phantom("LPS"), monkeypatch)
    px_per_mm = planes.LARGEST_PX / 100
    for cell, size_mm in ((axial, (82, 61)), (coronal, (100, 61)), (sagittal, (100, 82))):  # height, width
        np.testing.assert_allclose(cell.shape, np.array(size_mm) * px_per_mm, atol=1)


def test_each_edge_has_the_letter_of_its_side(monkeypatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        planes, "letter_of", lambda d: seen.append(f"{np.round(d / np.abs(d).max()).astype(int).tolist()}") or "X"
    )
    three_planes(phantom("LPS"))
    left, right, up, down = "[1, 0, 0]", "[-1, 0, 0]", "[0, 1, 0]", "[0, -1, 0]"  # RAS+: the patient's right is on the left
    assert seen[:4] == [left, right, up, down]
    assert seen[4:8] == [left, right, "[0, 0, 1]", "[0, 0, -1]"]
    assert seen[8:] == [up, down, "[0, 0, 1]", "[0, 0, -1]"]


def test_the_scale_is_as_long_as_it_says() -> None:
    sheet = np.asarray(three_planes(phantom("LPS")).convert("L"))
    rows, columns = np.nonzero(sheet[-80:, :300] == 255)
    longest = max(np.ptp(columns[rows == row]) for row in np.unique(rows))
    assert abs(longest / (planes.LARGEST_PX / 100) - 20) < 1  # of a field of 82 mm and margins a quarter, rounded down: 20 mm


def test_a_single_slice_is_one_plane_and_what_is_not_known_is_left_out() -> None:
    source = Source(path=Path("a.png"), kind="picture", spacing_known=False)
    flat = Volume(array=np.full((40, 30, 1), 7, dtype=np.uint8), affine=np.diag([-1.0, -1, 1, 1]), source=source)
    picture = three_planes(flat)
    assert picture.width < 1.5 * planes.LARGEST_PX + 2 * planes.MARGIN_PX
    assert (np.asarray(picture)[: planes.MARGIN_PX] == 0).all()  # no letter above


def test_a_sheared_scan_is_shown_upright(monkeypatch) -> None:
    """A rod along the patient's axis, scanned by a tilted gantry, is a straight rod in the picture."""
    array = np.zeros((40, 60, 30), dtype=np.int16)
    for k in range(30):
        array[18:22, 40 - k : 44 - k, k] = 1000
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 1.0
    sagittal = cells(Volume(array=array, affine=affine, modality="CT"), monkeypatch)[2]
    at = [np.flatnonzero(row > WHITE).mean() for row in sagittal if (row > WHITE).any()]
    assert len(at) > 0.9 * len(sagittal) and np.ptp(at) < 2


def test_an_existing_picture_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    planes.write_planes(phantom("RAS"), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert min(picture.size) > 300
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
