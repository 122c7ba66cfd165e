"""Every packed form against another hand: DCMTK packs and unpacks, OpenJPH packs HTJ2K; the pixels that went in are known."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from made_series import save, volume_datasets
from pydicom.encaps import encapsulate

from pipeline.errors import UserError
from pipeline.io.read import read_volume

ROWS, COLUMNS = 37, 42
LOSSLESS = {
    "JPEG lossless, selection value 1": ("dcmcjpeg", ["+e1"], "1.2.840.10008.1.2.4.70"),
    "JPEG lossless, process 14, predictor 6": ("dcmcjpeg", ["+el"], "1.2.840.10008.1.2.4.57"),
    "JPEG lossless, process 14, predictor 3": ("dcmcjpeg", ["+el", "+sv", "3"], "1.2.840.10008.1.2.4.57"),
    "JPEG lossless, process 14, predictor 7": ("dcmcjpeg", ["+el", "+sv", "7"], "1.2.840.10008.1.2.4.57"),
    "JPEG-LS": ("dcmcjpls", ["+el"], "1.2.840.10008.1.2.4.80"),
    "RLE": ("dcmcrle", [], "1.2.840.10008.1.2.5"),
}
LOSSY = {
    "JPEG baseline": ("dcmcjpeg", ["+eb"], "1.2.840.10008.1.2.4.50", 8, 3),
    "JPEG extended, 8 bits": ("dcmcjpeg", ["+ee"], "1.2.840.10008.1.2.4.51", 8, 3),
    "JPEG-LS, near-lossless": ("dcmcjpls", ["+en", "+md", "4"], "1.2.840.10008.1.2.4.81", 12, 0),
}


def picture(bits: int, *, signed: bool = False) -> np.ndarray:
    """(3, rows, columns): a smooth slope with some noise and the extremes, so that every code word occurs."""
    rng = np.random.default_rng(bits)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope = np.linspace(low, high, 3 * ROWS * COLUMNS).reshape(3, ROWS, COLUMNS)
    array = np.clip(slope + rng.normal(0, 2 ** (bits / 2) / 4, slope.shape), low, high).astype(np.int64)
    array[:, 5, :6] = (low, high, low, high, 0, high)
    return array


def native_series(array: np.ndarray, folder: Path, bits: int, *, signed: bool = False) -> Path:
    datasets = volume_datasets(array.astype("<i2").view("<u2") if signed else array, RescaleIntercept=0)
    for dataset, pixels in zip(datasets, array, strict=True):
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, int(signed)
        if bits == 8:
            dataset.BitsAllocated, dataset.PixelData = 8, pixels.astype(np.uint8).tobytes()
            dataset["PixelData"].VR = "OB"
    return save(datasets, folder)


def with_program(program: str, options: list[str], source: Path, target: Path) -> Path:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    target.mkdir()
    for file in sorted(source.iterdir()):
        subprocess.run([program, *options, file, target / file.name], check=True, capture_output=True)
    return target


@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (16, False), (16, True)])
@pytest.mark.parametrize("form", LOSSLESS)
def test_lossless_pixels_come_back_as_they_went_in(form: str, bits: int, signed: bool, tmp_path: Path) -> None:
    program, options, syntax = LOSSLESS[form]
    array = picture(bits, signed=signed)
    packed = with_program(program, options, native_series(array, tmp_path / "native", bits, signed=signed), tmp_path / "packed")
    assert pydicom.dcmread(packed / "001.dcm").file_meta.TransferSyntaxUID == syntax
    volume = read_volume(packed)
    np.testing.assert_array_equal(volume.array, array.transpose(2, 1, 0))
    assert not any(notice.code == "lossy" for notice in volume.source.notices)


@pytest.mark.parametrize("form", LOSSY)
def test_lossy_pixels_are_those_of_another_decoder_and_are_said_to_be_lossy(form: str, tmp_path: Path) -> None:
    program, options, syntax, bits, rounding = LOSSY[form]
    packed = with_program(program, options, native_series(picture(bits), tmp_path / "native", bits), tmp_path / "packed")
    assert pydicom.dcmread(packed / "001.dcm").file_meta.TransferSyntaxUID == syntax
    plain = with_program(program.replace("dcmc", "dcmd"), [], packed, tmp_path / "plain")
    other = np.stack([pydicom.dcmread(file).pixel_array for file in sorted(plain.iterdir())])
    volume = read_volume(packed)
    # two inverse cosine transforms may round differently; JPEG-LS has none
    assert np.abs(volume.array.transpose(2, 1, 0) - other.astype(np.int64)).max() <= rounding
    assert any(notice.code == "lossy" for notice in volume.source.notices)


def test_lossy_jpeg_of_12_bits_is_refused_by_its_name(tmp_path: Path) -> None:
    folder = native_series(picture(12), tmp_path / "native", 12)
    packed = with_program("dcmcjpeg", ["+ee"], folder, tmp_path / "packed")
    with pytest.raises(UserError, match=r"JPEG Extended.* cannot be decoded: gdcm: .*12-bit.*the series uncompressed"):
        read_volume(packed)


@pytest.mark.parametrize(("bits", "options"), [(8, []), (12, []), (12, ["-prog_order", "LRCP"]), (16, [])])
@pytest.mark.parametrize("ending", ["201", "202", "203"])
def test_htj2k_by_another_encoder(bits: int, options: list[str], ending: str, tmp_path: Path) -> None:
    if shutil.which("ojph_compress") is None:
        pytest.skip("ojph_compress (Debian: openjph-tools) is not installed")
    array = picture(bits)
    folder = native_series(array, tmp_path / "series", bits)
    for file, pixels in zip(sorted(folder.iterdir()), array, strict=True):
        grey, stream = tmp_path / "one.pgm", tmp_path / "one.j2c"
        data = pixels.astype(np.uint8 if bits == 8 else ">u2").tobytes()
        grey.write_bytes(f"P5 {COLUMNS} {ROWS} {2**bits - 1}\n".encode() + data)
        command = ["ojph_compress", "-i", grey, "-o", stream, "-reversible", "true", *options]
        subprocess.run(command, check=True, capture_output=True)
        dataset = pydicom.dcmread(file)
        dataset.PixelData = encapsulate([stream.read_bytes()])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{ending}"
        dataset.save_as(file)
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array, array.transpose(2, 1, 0))
    assert any(notice.code == "lossy" for notice in volume.source.notices) == (ending == "203")


@pytest.mark.parametrize("program", ["dcmcjpeg", "dcmcjpls"])
def test_a_packed_series_among_plain_ones_is_one_volume(program: str, tmp_path: Path) -> None:
    array = picture(12)
    folder = native_series(array, tmp_path / "native", 12)
    packed = with_program(program, [], folder, tmp_path / "packed")
    shutil.copy(packed / "002.dcm", folder / "002.dcm")
    np.testing.assert_array_equal(read_volume(folder).array, array.transpose(2, 1, 0))
