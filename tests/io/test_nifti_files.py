"""NIfTI in and out: every voxel where it was, or a reason."""

from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from pipeline.errors import UserError
from pipeline.io.nifti import read_nifti, write_nifti
from pipeline.io.volume import Volume
from pipeline.process import Peak, resident_bytes

RAS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
ALL_48 = ["".join(order) for letters in product("RL", "AP", "SI") for order in permutations(letters)]
SPACING_MM = (0.7, 0.9, 3.0)
LANDMARK = (1, 2, 4)  # the voxel with the value 7


def axes(codes: str) -> np.ndarray:
    """(3, 3), the directions of the three array axes as columns; 'oblique' is turned about all three of them."""
    if codes != "oblique":
        return np.array([RAS[c] for c in codes], dtype=float).T
    turned, _ = np.linalg.qr(np.array([[0.9, -0.3, 0.2], [0.25, 0.95, 0.1], [-0.2, -0.1, 0.97]]))
    return turned


def phantom(codes: str) -> Volume:
    array = np.zeros((5, 6, 7), dtype=np.uint8)
    array[LANDMARK] = 7
    affine = np.eye(4)
    affine[:3, :3] = axes(codes) * SPACING_MM
    affine[:3, 3] = (12.5, -20.25, 31.0)
    return Volume(array=array, affine=affine)


def landmark_ras_mm(codes: str) -> np.ndarray:
    """By hand: origin, plus index times spacing along each direction."""
    turned = axes(codes)
    return np.array((12.5, -20.25, 31.0)) + turned[:, 0] * 1 * 0.7 + turned[:, 1] * 2 * 0.9 + turned[:, 2] * 4 * 3.0


@pytest.mark.parametrize("codes", [*ALL_48, "oblique"])
def test_a_landmark_lies_where_another_library_looks_for_it(codes: str, tmp_path: Path) -> None:
    write_nifti(phantom(codes), tmp_path / "mask.nii.gz")
    image = sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
    index = np.argwhere(sitk.GetArrayFromImage(image) == 7)[0][::-1]
    x, y, z = image.TransformIndexToPhysicalPoint(index.tolist())
    np.testing.assert_allclose((-x, -y, z), landmark_ras_mm(codes), atol=1e-3)


@pytest.mark.parametrize("codes", [*ALL_48, "oblique"])
def test_a_landmark_written_by_another_library_is_read_where_it_is(codes: str, tmp_path: Path) -> None:
    turned = np.diag([-1.0, -1.0, 1.0]) @ axes(codes)  # ITK counts in LPS
    image = sitk.GetImageFromArray(np.swapaxes(phantom(codes).array, 0, 2))
    image.SetSpacing(SPACING_MM)
    image.SetOrigin((-12.5, 20.25, 31.0))
    image.SetDirection(turned.ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / "image.nii.gz"))
    volume = read_nifti(tmp_path / "image.nii.gz")
    found = volume.affine @ [*np.argwhere(volume.array == 7)[0], 1]
    np.testing.assert_allclose(found[:3], landmark_ras_mm(codes), atol=1e-3)
    np.testing.assert_allclose(volume.spacing_mm, SPACING_MM, atol=1e-6)


def test_sform_and_qform_are_both_set_and_agree(tmp_path: Path) -> None:
    write_nifti(phantom("oblique"), tmp_path / "a.nii.gz")
    header = nibabel.load(tmp_path / "a.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(header.get_sform(), header.get_qform(), atol=1e-4)
    assert header.get_xyzt_units()[0] == "mm"


def test_equal_volumes_give_equal_bytes(tmp_path: Path) -> None:
    write_nifti(phantom("LPS"), tmp_path / "a.nii.gz")
    write_nifti(phantom("LPS"), tmp_path / "other name.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "other name.nii.gz").read_bytes()


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("bool", "uint8"),
        ("uint8", "uint8"),
        ("int16", "int16"),
        ("uint16", "uint16"),
        ("int64", "int16"),
        ("float64", "float32"),
    ],
)
def test_whole_numbers_stay_whole(given: str, stored: str, tmp_path: Path) -> None:
    volume = Volume(array=np.ones((2, 3, 4), dtype=given), affine=np.eye(4))
    write_nifti(volume, tmp_path / "a.nii.gz")
    assert nibabel.load(tmp_path / "a.nii.gz").get_data_dtype() == np.dtype(stored)
    assert read_nifti(tmp_path / "a.nii.gz").array.dtype == np.dtype(stored)


def test_numbers_beyond_32_bits_are_refused(tmp_path: Path) -> None:
    volume = Volume(array=np.full((2, 2, 2), 2**40), affine=np.eye(4))
    with pytest.raises(UserError, match="do not fit into 32 bits"):
        write_nifti(volume, tmp_path / "a.nii.gz")


def test_channels_stay_last(tmp_path: Path) -> None:
    array = np.arange(120, dtype=np.int16).reshape(3, 4, 5, 2)
    write_nifti(Volume(array=array, affine=np.eye(4)), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii.gz").array, array)


def test_nan_is_kept(tmp_path: Path) -> None:
    array = np.ones((2, 2, 2), dtype=np.float32)
    array[0, 1, 0] = np.nan
    write_nifti(Volume(array=array, affine=np.eye(4)), tmp_path / "a.nii.gz")
    assert np.isnan(read_nifti(tmp_path / "a.nii.gz").array[0, 1, 0])


def test_a_sheared_grid_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[1, 2] = 0.3
    with pytest.raises(UserError, match=r"sheared by \d"):
        write_nifti(Volume(array=np.zeros((4, 4, 4), dtype=np.uint8), affine=affine), tmp_path / "a.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_check_keeps_the_old_file_and_leaves_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_nifti(phantom("RAS"), tmp_path / "a.nii.gz")
    before = (tmp_path / "a.nii.gz").read_bytes()
    write, moved = nibabel.Nifti1Image.to_stream, np.eye(4)

    def shifted(image: nibabel.Nifti1Image, stream: object) -> None:
        write(nibabel.Nifti1Image(np.asarray(image.dataobj), moved), stream)

    monkeypatch.setattr(nibabel.Nifti1Image, "to_stream", shifted)
    with pytest.raises(RuntimeError, match="away from where it should be"):
        write_nifti(phantom("LPS"), tmp_path / "a.nii.gz")
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]
    assert (tmp_path / "a.nii.gz").read_bytes() == before


def test_a_large_mask_is_read_back_without_holding_it_twice(tmp_path: Path) -> None:
    mask = np.zeros((1600, 512, 512), dtype=np.uint8).T
    mask[100:120] = 1
    before, peak = resident_bytes(), Peak()
    write_nifti(Volume(array=mask, affine=np.diag([-1.0, -1, 3, 1])), tmp_path / "a.nii.gz")
    assert peak.bytes() - before < 1.8 * mask.nbytes  # itself, which is not resident before it is read, and less than once more


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not end in"):
        write_nifti(phantom("RAS"), tmp_path / "a.png")


# --- files from elsewhere ---


def store(path: Path, array: np.ndarray, affine=None, **header) -> Path:
    image = nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


def test_the_name_does_not_matter(tmp_path: Path) -> None:
    store(tmp_path / "a.nii.gz", np.ones((2, 2, 2), dtype=np.int16)).rename(tmp_path / "scan 7")
    assert read_nifti(tmp_path / "scan 7").shape == (2, 2, 2)


def test_scaling_is_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    image.to_filename(tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[112:120] = np.array([0.5, 10], dtype="<f4").tobytes()  # scl_slope, scl_inter
    raw[352:368] = np.arange(8, dtype="<i2").tobytes()
    (tmp_path / "a.nii").write_bytes(bytes(raw))
    array = read_nifti(tmp_path / "a.nii").array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array.ravel(order="F"), 10 + 0.5 * np.arange(8))


def test_two_axes_get_a_third(tmp_path: Path) -> None:
    assert read_nifti(store(tmp_path / "a.nii", np.ones((4, 5), dtype=np.uint8))).shape == (4, 5, 1)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 2, 2, 2, 2), dtype=np.uint8), "not an image of 2 to 4 axes"),
        (np.zeros((2, 2, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]), "not plain numbers"),
        (np.zeros((2, 2, 2), dtype=np.complex64), "not plain numbers"),
    ],
)
def test_what_is_no_grey_volume_is_refused(array: np.ndarray, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason):
        read_nifti(store(tmp_path / "a.nii", array))


def test_a_header_without_place_and_spacing_is_refused(tmp_path: Path) -> None:
    path = store(tmp_path / "a.nii", np.zeros((2, 2, 2), dtype=np.uint8))
    raw = bytearray(path.read_bytes())
    raw[80:92] = bytes(12)  # pixdim
    raw[252:256] = bytes(4)  # both codes
    path.write_bytes(bytes(raw))
    with pytest.raises(UserError, match="neither sform nor qform"):
        read_nifti(path)


def test_spacing_without_place_is_read_with_a_notice(tmp_path: Path) -> None:
    path = store(tmp_path / "a.nii", np.zeros((2, 2, 2), dtype=np.uint8), np.diag([2.0, 3.0, 4.0, 1.0]))
    raw = bytearray(path.read_bytes())
    raw[252:256] = bytes(4)
    path.write_bytes(bytes(raw))
    volume = read_nifti(path)
    assert volume.spacing_mm == (2.0, 3.0, 4.0)
    assert [n.code for n in volume.source.notices] == ["no-orientation"]


def test_two_geometries_in_one_header_are_told(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), dtype=np.uint8), np.eye(4))
    image.set_qform(np.diag([1.0, 1.0, 1.0, 1.0]), code=1)
    moved = np.eye(4)
    moved[0, 3] = 5
    image.set_sform(moved, code=1)
    nibabel.save(image, tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii")
    assert volume.affine[0, 3] == 5
    assert "5.00 mm apart" in volume.source.notices[0].sentence


def test_micrometres_become_millimetres(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((2, 2, 2), dtype=np.uint8), np.diag([4.0, 4.0, 50.0, 1.0]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    assert read_nifti(tmp_path / "a.nii").spacing_mm == pytest.approx((0.004, 0.004, 0.05))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_header_claiming_18_gb_is_refused_before_allocating(ending: str, tmp_path: Path) -> None:
    path = store(tmp_path / "a.nii", np.zeros((2, 2, 2), dtype=np.float64))
    raw = bytearray(path.read_bytes())
    raw[42:48] = np.array([1200, 1400, 1400], dtype="<i2").tobytes()  # dim[1:4]
    path = tmp_path / f"bomb{ending}"
    path.write_bytes(gzip.compress(bytes(raw)) if ending.endswith("gz") else bytes(raw))
    with pytest.raises(UserError, match="the header claims 18816000000 bytes"):
        read_nifti(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_file_cut_off_is_refused(ending: str, kept: float, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 255, (20, 20, 20)).astype(np.uint8)
    path = store(tmp_path / f"a{ending}", array)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * kept)])
    with pytest.raises(UserError, match=r"cut off|claims|cannot be read|damaged"):
        read_nifti(path)


def test_damaged_files_give_a_volume_or_one_line(tmp_path: Path) -> None:
    """300 files with up to 4 changed bytes in the header: nothing else may leave `read_nifti`."""
    path, rng = store(tmp_path / "a.nii", np.ones((3, 4, 5), dtype=np.int16)), np.random.default_rng(1)
    good = path.read_bytes()
    for _ in range(300):
        raw = bytearray(good)
        for _ in range(rng.integers(1, 5)):
            raw[rng.integers(0, 352)] = rng.integers(0, 256)
        path.write_bytes(bytes(raw))
        try:
            assert read_nifti(path).array.size <= 4096
        except UserError as error:
            assert "\n" not in str(error)


def test_a_slip_of_typing_gets_the_nearest_name(tmp_path: Path) -> None:
    store(tmp_path / "liver_001.nii.gz", np.ones((2, 2, 2), dtype=np.uint8))
    with pytest.raises(UserError, match=r"Did you mean .*liver_001.nii.gz"):
        read_nifti(tmp_path / "liver_01.nii.gz")
