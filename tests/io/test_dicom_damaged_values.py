"""Numbers of a header that are damaged, missing or odd: none is guessed, and none is taken for absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_series import noise, save, volume_datasets
from oracle_series import Pixels, enhanced
from oracle_series import save as save_one
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from test_dicom_traps import SERIES, frames

from pipeline.errors import UserError
from pipeline.io.read import read_volume


def raw(dataset: Dataset, keyword: str, vr: str, value: bytes) -> None:
    """The element as a damaged file has it, whatever pydicom would say to it."""
    tag = Tag(keyword)
    dataset._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("RescaleSlope", "DS", b"abc "),
        ("RescaleSlope", "DS", b"1\\2 "),
        ("RescaleSlope", "OB", b"1 "),
        ("RescaleSlope", "DS", b"1e99"),
        ("RescaleIntercept", "LO", b"minus one"),
        ("RescaleIntercept", "AT", b"-102"),
        ("PixelRepresentation", "US", b"\x02\x00"),
        ("BitsStored", "OB", b"\x0c\x00"),
        ("ModalityLUTSequence", "OL", b"\0\0\0\1"),
    ],
)
def test_a_value_that_is_there_and_cannot_be_read_is_not_taken_for_absent(
    keyword: str, vr: str, value: bytes, tmp_path: Path
) -> None:
    datasets = volume_datasets(noise())
    raw(datasets[2], keyword, vr, value)
    with pytest.raises(UserError, match=f"003.dcm: .*{keyword} is missing or unreadable"):
        read_volume(save(datasets, tmp_path))


def test_a_slope_of_null_bytes_is_not_taken_for_absent(tmp_path: Path) -> None:
    folder = save(volume_datasets(noise()), tmp_path)
    whole = (folder / "003.dcm").read_bytes()
    slope = b"\x28\x00\x53\x10DS\x04\x00"
    (folder / "003.dcm").write_bytes(whole.replace(slope + b"1.0 ", slope + bytes(4)))
    with pytest.raises(UserError, match=r"003.dcm: .*RescaleSlope is missing or unreadable"):
        read_volume(folder)


def test_no_sign_of_the_pixels_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="PixelRepresentation is missing"):
        read_volume(save(volume_datasets(noise(), PixelRepresentation=None), tmp_path))


def test_no_number_of_bits_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="BitsStored is missing"):
        read_volume(save(volume_datasets(noise(), BitsStored=None), tmp_path))


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ImagePositionPatient", b"1e300\\0\\0 "),
        ("ImageOrientationPatient", b"1e300\\0\\0\\0\\1\\0 "),
        ("PixelSpacing", b"1e300\\1 "),
    ],
)
def test_numbers_beyond_any_patient_are_no_place(keyword: str, value: bytes, tmp_path: Path) -> None:
    datasets = volume_datasets(noise())
    raw(datasets[2], keyword, "DS", value)
    with pytest.raises(UserError, match=f"003.dcm: .*{keyword}.* is missing or unreadable"):
        read_volume(save(datasets, tmp_path))


def test_an_absurd_thickness_of_one_slice_counts_as_not_stated(tmp_path: Path) -> None:
    dataset = volume_datasets(noise(1))[0]
    raw(dataset, "SliceThickness", "DS", b"1e300 ")
    volume = read_volume(save([dataset], tmp_path))
    assert volume.spacing_mm[2] == 1.0 and not volume.source.spacing_known


def test_a_file_that_holds_its_pixels_twice_is_refused(tmp_path: Path) -> None:
    folder = save(volume_datasets(noise()), tmp_path)
    whole = (folder / "003.dcm").read_bytes()
    (folder / "003.dcm").write_bytes(whole + whole[whole.index(b"\xe0\x7f\x10\x00OW") :].replace(b"\x01", b"\x02"))
    with pytest.raises(UserError, match=r"003.dcm: behind the pixels stands what belongs before them"):
        read_volume(folder)


def test_no_photometric_interpretation_is_no_colour(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="PhotometricInterpretation is missing"):
        read_volume(save(volume_datasets(noise(), PhotometricInterpretation=None), tmp_path))


def test_a_slope_of_nought_is_refused_unless_the_slice_is_empty(tmp_path: Path) -> None:
    array = noise()
    array[3] = 0
    datasets = volume_datasets(array, RescaleSlope=2, RescaleIntercept=0)
    datasets[3].RescaleSlope = 0
    np.testing.assert_array_equal(read_volume(save(datasets, tmp_path / "empty")).array, 2.0 * array.transpose(2, 1, 0))
    datasets[2].RescaleSlope = 0
    with pytest.raises(UserError, match=r"003.dcm: RescaleSlope is 0"):
        read_volume(save(datasets, tmp_path / "lost"))


def test_an_intercept_that_no_whole_number_holds_becomes_a_fraction(tmp_path: Path) -> None:
    volume = read_volume(save(volume_datasets(noise(), RescaleIntercept=10**13), tmp_path))
    assert volume.array.dtype == np.float32 and volume.array.min() > 9e12


def test_whole_numbers_of_32_bits_stay_whole(tmp_path: Path) -> None:
    datasets = volume_datasets(noise(), RescaleIntercept=0)
    for dataset, pixels in zip(datasets, noise(), strict=True):
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 32, 31, 30
        dataset.PixelData = (pixels + 2**30).astype("<u4").tobytes()
    volume = read_volume(save(datasets, tmp_path))
    assert volume.array.dtype == np.int32
    np.testing.assert_array_equal(volume.array, noise().transpose(2, 1, 0) + 2**30)


def test_pixels_of_fractions_are_read_as_they_are(tmp_path: Path) -> None:
    datasets = volume_datasets(noise(), RescaleIntercept=0)
    for dataset, pixels in zip(datasets, noise(), strict=True):
        for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
            delattr(dataset, keyword)
        dataset.BitsAllocated, dataset.FloatPixelData = 32, (pixels / 7).astype("<f4").tobytes()
    volume = read_volume(save(datasets, tmp_path))
    np.testing.assert_array_equal(volume.array, (noise() / 7).astype(np.float32).transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("value", "limit", "signed", "padded"),
    [(-2000, 0, True, {-2000, -7, 0}), (63536, None, True, {-2000}), (5, 9, False, {5, 9}), (9, 5, False, {5, 9})],
)
def test_padding_is_a_range_and_may_be_written_unsigned(
    value: int, limit, signed: bool, padded: set[int], tmp_path: Path
) -> None:
    array = np.full((3, 4, 4), 1000)
    array[:, 0] = (-2000, -7, 0, 700) if signed else (5, 9, 4, 700)
    datasets = volume_datasets(array.astype("<i2").view("<u2"), RescaleIntercept=0)
    for dataset in datasets:
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 15, int(signed)
        raw(dataset, "PixelPaddingValue", "US", (value % 2**16).to_bytes(2, "little"))
        if limit is not None:
            raw(dataset, "PixelPaddingRangeLimit", "SS" if signed else "US", limit.to_bytes(2, "little"))
        if value < 0:
            raw(dataset, "PixelPaddingValue", "SS", (value % 2**16).to_bytes(2, "little"))
    found = read_volume(save(datasets, tmp_path)).array[:, 0, 0].tolist()
    stored = array[0, 0].tolist()
    assert found == [min(v, -1024) if v in padded else v for v in stored]


def test_a_rescale_beside_the_functional_groups_is_not_left_out(tmp_path: Path) -> None:
    dataset = enhanced(frames(), uid="1.2", series=SERIES, modality="MR", pixels=Pixels())
    dataset.RescaleSlope, dataset.RescaleIntercept = 2, 0
    save_one(dataset, tmp_path / "one")
    with pytest.raises(UserError, match="a rescale stands outside of it"):
        read_volume(tmp_path)


@pytest.mark.parametrize(("vr", "value"), [("IS", b"12"), ("OB", b"\0\1"), ("FL", b"\0\0\0\0"), ("AT", b"\0\1\2\3")])
def test_an_image_type_that_is_no_text_is_no_obstacle(vr: str, value: bytes, tmp_path: Path) -> None:
    datasets = volume_datasets(noise())
    raw(datasets[2], "ImageType", vr, value)
    assert read_volume(save(datasets, tmp_path)).shape == (8, 6, 5)


def test_a_ct_without_a_rescale_is_told(tmp_path: Path) -> None:
    volume = read_volume(save(volume_datasets(noise(), RescaleSlope=None, RescaleIntercept=None), tmp_path / "bare"))
    np.testing.assert_array_equal(volume.array, noise().transpose(2, 1, 0))
    assert "no-rescale" in {notice.code for notice in volume.source.notices}
    usual = read_volume(save(volume_datasets(noise()), tmp_path / "usual"))
    assert "no-rescale" not in {notice.code for notice in usual.source.notices}


@pytest.mark.parametrize("keyword", ["PhotometricInterpretation", "ImageType", "SeriesDescription"])
def test_items_where_a_text_should_stand_are_no_text(keyword: str, tmp_path: Path) -> None:
    datasets = volume_datasets(noise())
    length = b"\x00\x00\x00\x00UL\x03\x00abc"  # three bytes cannot be a number: the item cannot even be printed
    raw(datasets[0], keyword, "SQ", b"\xfe\xff\x00\xe0" + len(length).to_bytes(4, "little") + length)
    folder = save(datasets, tmp_path)
    try:
        assert read_volume(folder).shape == (8, 6, 5)
    except UserError as refusal:
        assert "001.dcm" in str(refusal) or "volumes" in str(refusal)
