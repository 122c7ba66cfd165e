"""Grey pictures in, masks out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.io.picture import read_picture, write_picture
from pipeline.io.read import read_volume

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)  # 3 rows, 4 columns


def save(path: Path, array: np.ndarray, **options) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def test_columns_come_first_and_no_size_is_claimed(tmp_path: Path) -> None:
    volume = read_picture(save(tmp_path / "a.png", GREY))
    assert volume.shape == (4, 3, 1)
    assert volume.array[3, 1, 0] == GREY[1, 3]
    assert not volume.source.spacing_known


def test_a_stated_pixel_size_lies_as_an_axial_slice_on_a_screen(tmp_path: Path) -> None:
    volume = read_picture(save(tmp_path / "a.png", GREY), pixel_size_mm=0.25)
    assert volume.affine.tolist() == [[-0.25, 0, 0, 0], [0, -0.25, 0, 0], [0, 0, 0.25, 0], [0, 0, 0, 1]]
    assert volume.source.spacing_known


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "bool"])
def test_pixels_are_kept_as_they_are_stored(kind: str, tmp_path: Path) -> None:
    array = (GREY.astype(kind) * 5000 if kind == "uint16" else GREY.astype(kind)).astype(kind)
    found = read_picture(save(tmp_path / "a.tif", array)).array[:, :, 0].T
    np.testing.assert_array_equal(found, array)


def test_sixteen_bits_of_png_are_kept(tmp_path: Path) -> None:
    array = (GREY.astype(np.uint16) + 1) * 5000
    np.testing.assert_array_equal(read_picture(save(tmp_path / "a.png", array)).array[:, :, 0].T, array)


def test_pages_become_slices(tmp_path: Path) -> None:
    pages = [Image.fromarray(GREY + k) for k in range(5)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    volume = read_picture(tmp_path / "a.tif")
    assert volume.shape == (4, 3, 5)
    assert volume.array[0, 0].tolist() == [0, 1, 2, 3, 4]


def test_equal_channels_are_grey(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.repeat(GREY[..., None], 3, axis=2))
    np.testing.assert_array_equal(read_picture(path).array[:, :, 0].T, GREY)


def test_a_palette_gives_indices_for_labels_and_is_refused_as_an_image(tmp_path: Path) -> None:
    picture = Image.fromarray(GREY % 3).convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png", as_labels=True).array[:, :, 0].T, GREY % 3)
    with pytest.raises(UserError, match="in colour"):
        read_picture(tmp_path / "a.png")


def test_colours_are_refused(tmp_path: Path) -> None:
    array = np.zeros((3, 4, 3), dtype=np.uint8)
    array[1, 1, 0] = 9
    with pytest.raises(UserError, match="in colour"):
        read_picture(save(tmp_path / "a.png", array))


def test_transparent_pixels_are_refused_and_opaque_ones_ignored(tmp_path: Path) -> None:
    array = np.full((3, 4, 4), 255, dtype=np.uint8)
    assert read_picture(save(tmp_path / "a.png", array)).shape == (4, 3, 1)
    array[0, 0, 3] = 10
    with pytest.raises(UserError, match="transparent"):
        read_picture(save(tmp_path / "b.png", array))


@pytest.mark.parametrize(("name", "options"), [("a.jpg", {}), ("a.tif", {"compression": "jpeg"})])
def test_lossy_pictures_are_refused(name: str, options: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="JPEG changes grey values"):
        read_volume(save(tmp_path / name, np.tile(GREY, (8, 8)), **options))


def test_a_picture_cut_off_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="damaged"):
        read_picture(path)


def test_a_mask_is_written_as_it_will_be_looked_at(tmp_path: Path) -> None:
    write_picture(GREY.T, tmp_path / "out" / "mask.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "mask.png")), GREY)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mask.png"]


def test_a_mask_with_other_values_or_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="from 0 to 255"):
        write_picture(np.full((2, 2), 256), tmp_path / "mask.png")
    with pytest.raises(UserError, match="does not end in"):
        write_picture(GREY.T, tmp_path / "mask.jpg")


def test_pixels_of_an_electron_microscope_are_no_singular_grid(tmp_path: Path) -> None:
    assert read_picture(save(tmp_path / "a.png", GREY), pixel_size_mm=4e-6).spacing_mm == pytest.approx((4e-6,) * 3)
