"""Pixels to modality values, and hostile or damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from made_series import MR, noise, save, volume_datasets
from pydicom.pixels import get_decoder
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from pipeline.errors import UserError
from pipeline.io.dicom.decoder import DECODERS
from pipeline.io.read import read_volume

PLACED = noise().transpose(2, 1, 0)  # (columns, rows, slices)


def test_every_slice_has_its_own_slope(tmp_path: Path) -> None:
    datasets = volume_datasets(noise(), Modality="PT", RescaleIntercept=0)
    for k, dataset in enumerate(datasets):
        dataset.RescaleSlope = k + 0.5
    volume = read_volume(save(datasets, tmp_path))
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, PLACED * (np.arange(5) + 0.5), rtol=1e-6)


def test_signed_pixels_keep_their_sign_and_rubbish_above_the_stored_bits_is_dropped(tmp_path: Path) -> None:
    datasets = volume_datasets(noise(), PixelRepresentation=1, RescaleIntercept=0)
    for dataset, plane in zip(datasets, noise(), strict=True):
        dataset.PixelData = (plane.astype("<u2") | 0xA000).tobytes()
    expected = np.where(PLACED >= 2048, PLACED - 4096, PLACED)
    np.testing.assert_array_equal(read_volume(save(datasets, tmp_path)).array, expected)


def test_wide_values_do_not_wrap(tmp_path: Path) -> None:
    datasets = volume_datasets(noise() * 16, BitsStored=16, HighBit=15, RescaleIntercept=0)
    np.testing.assert_array_equal(read_volume(save(datasets, tmp_path)).array, PLACED.astype(np.int64) * 16)


def test_monochrome1_changes_the_display_not_the_values(tmp_path: Path) -> None:
    datasets = volume_datasets(noise(), PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_volume(save(datasets, tmp_path)).array, PLACED - 1000)


def test_padding_of_a_ct_becomes_air_where_it_would_read_as_bone(tmp_path: Path) -> None:
    datasets = volume_datasets(noise(), PixelPaddingValue=4095)
    volume = read_volume(save(datasets, tmp_path))
    expected = np.where(PLACED == 4095, -1024, PLACED - 1000)
    np.testing.assert_array_equal(volume.array, expected)
    assert [n.code for n in volume.source.notices] == ([] if not (PLACED == 4095).any() else ["padding"])


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_packed_pixels_equal_plain_ones_with_every_decoder(syntax: pydicom.uid.UID, tmp_path: Path) -> None:
    array = noise(1, 64, 64)
    datasets = volume_datasets(array)
    for dataset in datasets:
        dataset.compress(syntax)
    folder = save(datasets, tmp_path)
    np.testing.assert_array_equal(read_volume(folder).array, array.transpose(2, 1, 0) - 1000)
    for plugin in DECODERS[syntax]:
        packed = pydicom.dcmread(folder / "001.dcm")
        decoded, _ = get_decoder(syntax).as_array(packed, decoding_plugin=plugin)
        np.testing.assert_array_equal(decoded, array[0])


def test_lossy_pixels_are_told(tmp_path: Path) -> None:
    volume = read_volume(save(volume_datasets(noise(), LossyImageCompression="01"), tmp_path))
    assert "5 of 5 slices went through lossy compression" in volume.source.notices[0].sentence


def test_an_unknown_transfer_syntax_is_named(tmp_path: Path) -> None:
    datasets = volume_datasets(noise(), SOPClassUID=MR)
    for dataset in datasets:
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG2
        dataset.PixelData = pydicom.encaps.encapsulate([b"\0" * 8])
        dataset["PixelData"].is_undefined_length = True
    with pytest.raises(UserError, match=r"no decoder for the transfer syntax 1.2.840.10008.1.2.4.100"):
        read_volume(save(datasets, tmp_path))


def test_pixels_cut_off_are_named_with_both_numbers(tmp_path: Path) -> None:
    folder = save(volume_datasets(noise()), tmp_path)
    raw = (folder / "002.dcm").read_bytes()
    (folder / "002.dcm").write_bytes(raw[:-10])
    with pytest.raises(UserError, match=r"002.dcm: the pixels are truncated: 86 of 96 bytes"):
        read_volume(folder)


def test_header_claiming_8_gb_is_refused_before_allocating(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"truncated: \d+ of 8589672450 bytes"):
        read_volume(save(volume_datasets(noise(), Rows=65535, Columns=65535), tmp_path))


def test_a_file_cut_in_its_header_is_set_aside_and_its_hole_is_named(tmp_path: Path) -> None:
    folder = save(volume_datasets(noise(6)), tmp_path)
    raw = (folder / "003.dcm").read_bytes()
    (folder / "003.dcm").write_bytes(raw[:140])
    with pytest.raises(UserError, match=r"6.00 mm between 002.dcm and 004.dcm.*not read: 003.dcm \(damaged DICOM file"):
        read_volume(folder)


def test_a_damaged_file_beside_a_whole_series_is_named(tmp_path: Path) -> None:
    folder = save(volume_datasets(noise(6)), tmp_path)
    raw = (folder / "006.dcm").read_bytes()
    (folder / "006.dcm").write_bytes(raw[:140])
    volume = read_volume(folder)
    assert volume.shape[2] == 5
    notice = next(n for n in volume.source.notices if n.code == "files-broken")
    assert "006.dcm (damaged DICOM file" in notice.sentence


@pytest.mark.parametrize("length", range(140, 400, 20))
def test_wherever_a_file_is_cut_it_is_named(length: int, tmp_path: Path) -> None:
    folder = save(volume_datasets(noise(6)), tmp_path)
    raw = (folder / "006.dcm").read_bytes()
    (folder / "006.dcm").write_bytes(raw[:length])
    try:
        said = " ".join(map(str, read_volume(folder).source.notices))
    except UserError as refusal:
        said = str(refusal)
    assert "006.dcm" in said


def test_a_file_without_preamble_is_read(tmp_path: Path) -> None:
    datasets = volume_datasets(noise())
    for k, dataset in enumerate(datasets):
        dataset.save_as(tmp_path / f"{k}", implicit_vr=False, little_endian=True, enforce_file_format=False)
        raw = (tmp_path / f"{k}").read_bytes()
        start = raw.index(b"\x08\x00\x08\x00")  # Image Type: the data set without preamble and group 0002
        (tmp_path / f"{k}").write_bytes(raw[start:])
    np.testing.assert_array_equal(read_volume(tmp_path).array, PLACED - 1000)


def test_deeply_nested_sequences_are_no_way_to_take_the_process_down(tmp_path: Path) -> None:
    folder = save(volume_datasets(noise()), tmp_path)
    raw = (folder / "001.dcm").read_bytes()
    nest = (b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 3000
    (folder / "evil.dcm").write_bytes(raw[: raw.index(b"\x28\x00\x02\x00")] + nest)
    assert read_volume(folder).shape == (8, 6, 5)


def test_damaged_files_give_a_volume_or_one_line(tmp_path: Path) -> None:
    """150 series with up to 6 changed bytes in one file: nothing else may leave `read_volume`."""
    folder, rng = save(volume_datasets(noise(3)), tmp_path), np.random.default_rng(2)
    good = (folder / "002.dcm").read_bytes()
    for _ in range(150):
        raw = bytearray(good)
        for _ in range(rng.integers(1, 7)):
            raw[rng.integers(132, len(raw))] = rng.integers(0, 256)
        (folder / "002.dcm").write_bytes(bytes(raw))
        try:
            assert read_volume(folder).array.size < 2**20
        except UserError as error:
            assert "\n" not in str(error) and "Secret" not in str(error)
