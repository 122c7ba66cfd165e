"""DICOM series on made-up slices: millimetres, order, values, and what is refused."""

from __future__ import annotations

import shutil
import zipfile
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from made_series import MR, noise, save, slice_dataset, volume_datasets

from pipeline.errors import UserError
from pipeline.io.dicom.find import find_all
from pipeline.io.geometry import shear_distance_mm
from pipeline.io.read import read_volume
from pipeline.io.regrid import orthogonal

LETTERS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}  # LPS
ALL_48 = ["".join(order) for letters in product("RL", "AP", "SI") for order in permutations(letters)]
FIRST = (-101.25, -121.5, 40.125)


def directions(codes: str) -> np.ndarray:
    """(3, 3): along increasing column, along increasing row, from file to file, as columns (LPS)."""
    if codes != "oblique":
        return np.array([LETTERS[c] for c in codes], dtype=float).T
    turned, _ = np.linalg.qr(np.array([[0.9, -0.3, 0.2], [0.25, 0.95, 0.1], [-0.2, -0.1, 0.97]]))
    return turned


def oriented(codes: str, folder: Path) -> tuple[Path, np.ndarray]:
    """A series with one voxel of 7 at column 3, row 1 of file 4, under shuffled names; and where that voxel lies (LPS, mm)."""
    array = np.zeros((5, 6, 8), dtype=np.uint16)
    array[4, 1, 3] = 7
    turned = directions(codes)
    orientation = [round(float(v), 9) for v in (*turned[:, 0], *turned[:, 1])]
    datasets = volume_datasets(array, first=FIRST, step=turned[:, 2] * 3.0, ImageOrientationPatient=orientation)
    names = ["m", "b", "z", "a", "k"]
    landmark = np.array(FIRST) + turned[:, 0] * 3 * 0.75 + turned[:, 1] * 1 * 0.5 + turned[:, 2] * 4 * 3.0
    return save(datasets, folder, names=names), landmark


@pytest.mark.parametrize("codes", [*ALL_48, "oblique"])
def test_a_landmark_lies_where_the_header_and_another_library_put_it(codes: str, tmp_path: Path) -> None:
    folder, landmark = oriented(codes, tmp_path)
    volume = read_volume(folder)
    found = (volume.affine @ [*np.argwhere(volume.array == 7 - 1000)[0], 1])[:3]
    np.testing.assert_allclose(found * (-1, -1, 1), landmark, atol=1e-3)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    index = np.argwhere(sitk.GetArrayFromImage(image) == 7 - 1000)[0][::-1]
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index.tolist()), found * (-1, -1, 1), atol=1e-3)


def test_pixel_spacing_is_rows_then_columns(tmp_path: Path) -> None:
    volume = read_volume(save(volume_datasets(noise()), tmp_path))
    assert volume.affine.tolist() == [[-0.75, 0, 0, 100], [0, -0.5, 0, 120], [0, 0, 3, 40], [0, 0, 0, 1]]
    assert volume.shape == (8, 6, 5)
    np.testing.assert_array_equal(volume.array, noise().transpose(2, 1, 0) - 1000)
    assert volume.array.dtype == np.int16 and volume.modality == "CT"


def test_names_and_numbers_never_decide_the_order(tmp_path: Path) -> None:
    plain = read_volume(save(volume_datasets(noise()), tmp_path / "plain"))
    datasets = volume_datasets(noise())
    for dataset, number in zip(datasets, (9, 2, 7, 1, 4), strict=True):
        dataset.InstanceNumber, dataset.SliceLocation = number, -number
    mixed = read_volume(save(datasets, tmp_path / "mixed", names=["c", "x.txt", "a", "q.dcm", "b"]))
    np.testing.assert_array_equal(mixed.array, plain.array)
    np.testing.assert_array_equal(mixed.affine, plain.affine)
    assert [f.name for f in mixed.source.slice_files] == ["c", "x.txt", "a", "q.dcm", "b"]
    assert mixed.source.sop_uids == plain.source.sop_uids


def test_nothing_of_the_patient_is_in_the_short_name(tmp_path: Path) -> None:
    assert read_volume(save(volume_datasets(noise()), tmp_path)).source.short_name == "series4_11111111"


def test_a_zip_reads_as_its_folder(tmp_path: Path) -> None:
    folder = save(volume_datasets(noise()), tmp_path / "study" / "a")
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "study")
    (tmp_path / "packed.zip").rename(tmp_path / "packed")
    packed, plain = read_volume(tmp_path / "packed"), read_volume(folder)
    np.testing.assert_array_equal(packed.array, plain.array)
    assert packed.source.slice_files[0] == tmp_path / "packed" / "a" / "001.dcm"


def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../evil.txt", "x")
    with pytest.raises(UserError, match="leads out of its folder"):
        read_volume(tmp_path / "evil.zip")


def test_an_archive_that_claims_to_unpack_to_more_than_deflate_can_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"\0" * 100_000)
    raw = bytearray((tmp_path / "bomb.zip").read_bytes())
    entry = raw.index(b"PK\x01\x02")
    raw[entry + 24 : entry + 28] = (2**32 - 2).to_bytes(4, "little")
    (tmp_path / "bomb.zip").write_bytes(bytes(raw))
    with pytest.raises(UserError, match="claims 1 files of 4294967294 bytes"):
        read_volume(tmp_path / "bomb.zip")


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "secret.zip", "w") as archive:
        archive.writestr("a", b"\0" * 100)
    raw = bytearray((tmp_path / "secret.zip").read_bytes())
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(magic) + flags] |= 1
    (tmp_path / "secret.zip").write_bytes(bytes(raw))
    with pytest.raises(UserError, match=r"secret.zip: the archive is encrypted. Unpack it with its password"):
        read_volume(tmp_path / "secret.zip")


def test_an_archive_of_endless_folders_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "deep.zip", "w") as archive:
        archive.writestr("a/" * 200 + "b", "x")
    with pytest.raises(UserError, match="nested more than 32 deep"):
        read_volume(tmp_path / "deep.zip")


def test_a_zip_in_a_folder_is_named_and_not_opened(tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "s" / "packed"), "zip", save(volume_datasets(noise()), tmp_path / "study"))
    with pytest.raises(UserError, match=r"no image volume: 1 x zip \(give it by itself\)"):
        read_volume(tmp_path / "s")


# --- geometry ---


def test_a_missing_slice_is_named_by_its_neighbours(tmp_path: Path) -> None:
    datasets = volume_datasets(noise(8))
    del datasets[4]
    with pytest.raises(UserError, match=r"6.00 mm between 004.dcm and 005.dcm \(1 missing\), elsewhere the spacing is 3.00 mm"):
        read_volume(save(datasets, tmp_path))


def test_a_slice_beside_the_others_is_named_with_its_distance(tmp_path: Path) -> None:
    datasets = volume_datasets(noise(8))
    datasets[2].ImagePositionPatient = [-98, -120, 46]
    with pytest.raises(UserError, match=r"the slice 003.dcm lies 2.00 mm from its position"):
        read_volume(save(datasets, tmp_path))


def test_a_change_of_spacing_is_listed(tmp_path: Path) -> None:
    datasets = [
        slice_dataset(p, (0, 0, z), number=k) for k, (p, z) in enumerate(zip(noise(6), (0, 3, 6, 10, 14, 18), strict=True))
    ]
    with pytest.raises(UserError, match=r"irregular: 3.00 mm from 001.dcm to 003.dcm, 4.00 mm from 003.dcm to 006.dcm"):
        read_volume(save(datasets, tmp_path))


def test_noise_of_positions_passes_and_is_measured(tmp_path: Path) -> None:
    datasets, rng = volume_datasets(noise(8)), np.random.default_rng(0)
    for dataset in datasets:
        dataset.ImagePositionPatient = [round(float(p) + rng.uniform(-0.02, 0.02), 4) for p in dataset.ImagePositionPatient]
    volume = read_volume(save(datasets, tmp_path))
    assert volume.source.geometry is not None
    assert volume.source.geometry.kind == "regular"
    assert 0.001 < volume.source.geometry.residual_mm < 0.05


@pytest.mark.parametrize(
    ("keyword", "reason"),
    [
        ("ImageOrientationPatient", "ImageOrientationPatient"),
        ("ImagePositionPatient", "ImagePositionPatient"),
        ("PixelSpacing", "PixelSpacing"),
    ],
)
def test_a_missing_attribute_is_named(keyword: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{reason}.* is missing"):
        read_volume(save(volume_datasets(noise(), **{keyword: None}), tmp_path))


def test_orientation_that_is_no_pair_of_unit_vectors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not two perpendicular unit vectors"):
        read_volume(save(volume_datasets(noise(), ImageOrientationPatient=[1, 0, 0, 0.5, 1, 0]), tmp_path))


def test_a_turned_slice_is_named_with_its_angle(tmp_path: Path) -> None:
    datasets = volume_datasets(noise(8))
    datasets[5].ImageOrientationPatient = [0.99939083, 0.0348995, 0, -0.0348995, 0.99939083, 0]  # 2 degrees
    with pytest.raises(UserError, match=r"006.dcm: one slice does not belong .* turned by 2.00 degrees"):
        read_volume(save(datasets, tmp_path))


def test_one_slice_takes_its_thickness(tmp_path: Path) -> None:
    volume = read_volume(save(volume_datasets(noise(1)), tmp_path))
    assert volume.spacing_mm == (0.75, 0.5, 3.0)
    unknown = read_volume(save(volume_datasets(noise(1), SliceThickness=None), tmp_path / "b"))
    assert not unknown.source.spacing_known


def test_a_tilted_stack_keeps_its_shear_and_each_slice_moves_in_its_own_plane(tmp_path: Path) -> None:
    array = np.zeros((6, 20, 10), dtype=np.uint16)
    array[:, 8:12, 4:7] = 900  # the same block in every slice, so in the patient it leans
    volume = read_volume(save(volume_datasets(array, first=(0, 0, 0), step=(0, 1.0, 3.0)), tmp_path))
    assert volume.source.geometry is not None and volume.source.geometry.kind == "sheared"
    straight = orthogonal(volume)
    assert shear_distance_mm(straight.affine, straight.shape) < 1e-6
    assert straight.shape == (10, 30, 6)  # 5 steps of 1 mm are 10 rows of 0.5 mm
    for k in range(6):
        source_mm = (volume.affine @ [*np.argwhere(volume.array[:, :, k] == -100).mean(axis=0), k, 1])[:3]
        found_mm = (straight.affine @ [*np.argwhere(straight.array[:, :, k] == -100).mean(axis=0), k, 1])[:3]
        np.testing.assert_allclose(found_mm, source_mm, atol=1e-9)
        assert (straight.array[:, :, k] == -100).sum() == 12
    assert straight.array.min() == -1024  # air where the source has nothing


def test_a_shift_between_pixels_is_interpolated_and_labels_are_not(tmp_path: Path) -> None:
    array = np.zeros((3, 6, 8), dtype=np.uint16)
    array[:, 3, 3] = 1000
    volume = read_volume(save(volume_datasets(array, first=(0, 0, 0), step=(0.1875, 0, 3.0)), tmp_path))  # a quarter column
    moved = orthogonal(volume)
    assert moved.array[3:6, 3, 1].tolist() == [-250, -750, -1000]
    labels = orthogonal(volume, labels=True)
    assert sorted(np.unique(labels.array).tolist()) == [-1000, 0]


# --- several volumes, copies, other things ---


def test_two_series_are_listed_and_each_can_be_named(tmp_path: Path) -> None:
    save(volume_datasets(noise()), tmp_path / "a")
    other = "1.2.826.0.1.3680043.8.498.22222222"
    save(volume_datasets(noise(4, seed=1), series=other, SeriesNumber=7), tmp_path / "b")
    with pytest.raises(UserError, match=r"2 volumes in 2 series.*1: series 4 \(11111111\) CT 8x6x5.*2: series 7 \(22222222\)"):
        read_volume(tmp_path)
    for name in ("7", "22222222", other):
        assert read_volume(tmp_path, series=name).shape == (8, 6, 4)
    with pytest.raises(UserError, match=r"no series '9'"):
        read_volume(tmp_path, series="9")


def test_echoes_are_two_volumes(tmp_path: Path) -> None:
    first = volume_datasets(noise(), SOPClassUID=MR, Modality="MR", EchoTime=10)
    second = volume_datasets(noise(seed=1), SOPClassUID=MR, Modality="MR", EchoTime=90)
    for number, dataset in enumerate(second, start=100):
        dataset.SOPInstanceUID = f"{dataset.SOPInstanceUID}.{number}"
    save([*first, *second], tmp_path)
    with pytest.raises(UserError, match=r'volume "TE 10".*volume "TE 90"'):
        read_volume(tmp_path)
    np.testing.assert_array_equal(read_volume(tmp_path, volume="te 90").array, noise(seed=1).transpose(2, 1, 0) - 1000)
    np.testing.assert_array_equal(read_volume(tmp_path, volume="2").array, noise(seed=1).transpose(2, 1, 0) - 1000)


def test_a_copy_is_taken_once_and_a_contradiction_is_refused(tmp_path: Path) -> None:
    folder = save(volume_datasets(noise()), tmp_path)
    shutil.copy(folder / "003.dcm", folder / "z.dcm")
    volume = read_volume(folder)
    assert volume.shape == (8, 6, 5)
    assert volume.source.files_set_aside == (("z.dcm", "a copy of 003.dcm"),)
    other = pydicom.dcmread(folder / "z.dcm")
    other.PixelData = bytes(96)
    other.save_as(folder / "z.dcm")
    with pytest.raises(UserError, match=r"003.dcm and z.dcm claim the same position with different pixels"):
        read_volume(folder)


def test_other_files_are_set_aside_and_counted(tmp_path: Path) -> None:
    folder = save(volume_datasets(noise()), tmp_path)
    (folder / "notes.txt").write_text("hello")
    (folder / "empty").touch()
    report = slice_dataset(noise()[0], (0, 0, 0), SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR", number=50)
    report.save_as(folder / "report", enforce_file_format=True)
    notices = [str(n) for n in read_volume(folder).source.notices]
    assert notices[-1] == "set aside: 1 x empty file, 1 x not DICOM, 1 x report"


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match="no image volume: 1 x not DICOM"):
        read_volume(tmp_path)


def test_find_lists_series_and_hides_the_patient(tmp_path: Path) -> None:
    save(volume_datasets(noise()), tmp_path / "a" / "b")
    found = find_all(tmp_path)
    assert [(s.folder.name, s.short_uid, s.modality, s.volumes) for s in found.series] == [("b", "11111111", "CT", ("",))]
    # by sha256sum
    assert found.series[0].patient == "P8335cbf9"
    assert "Secret" not in repr(found)


def test_two_volumes_of_one_series_have_two_names(shared):
    series = shared / "dicom" / "mr_magnitude_and_phase"
    names = [read_volume(series, volume=volume).source.short_name for volume in ("magnitude", "phase")]
    assert names == ["series501_79150163_magnitude", "series501_79150163_phase"]
