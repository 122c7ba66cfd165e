"""Compressed pixels are decoded by processes that may break: the reader does not, and says which file it was."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pydicom
import pytest
from made_series import noise, save, volume_datasets
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from pipeline.errors import UserError
from pipeline.io.dicom.codestream import stream_size
from pipeline.io.dicom.workers import Died, Worker, Workers
from pipeline.io.read import read_volume

SYNTAXES = [JPEG2000Lossless, JPEGLSLossless]


def packed_series(folder: Path, syntax: pydicom.uid.UID, slices: int = 3) -> Path:
    array = np.random.default_rng(0).integers(0, 4096, (slices, 40, 48))
    datasets = volume_datasets(array)
    for dataset in datasets:
        dataset.compress(syntax, generate_instance_uid=False)
    return save(datasets, folder)


def with_stream(file: Path, change) -> None:
    """Replace the file's compressed frame by a changed one."""
    dataset = pydicom.dcmread(file)
    dataset.PixelData = encapsulate([change(get_frame(dataset.PixelData, 0, number_of_frames=1))])
    dataset.save_as(file)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_stream_states_its_own_size(syntax: pydicom.uid.UID, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(packed_series(tmp_path, syntax) / "001.dcm")
    size = stream_size(get_frame(dataset.PixelData, 0, number_of_frames=1))
    assert (size.rows, size.columns, size.components, size.bits) == (40, 48, 1, 12)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("part", [0.3, 0.8, 0.99])
def test_a_stream_that_breaks_off_is_refused_and_not_filled_up(syntax: pydicom.uid.UID, part: float, tmp_path: Path) -> None:
    folder = packed_series(tmp_path, syntax)
    with_stream(folder / "002.dcm", lambda stream: stream[: int(len(stream) * part)])
    with pytest.raises(UserError, match=r"002.dcm: the compressed pixels are damaged: its end is missing"):
        read_volume(folder)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_stream_of_another_size_is_refused_before_it_is_decoded(syntax: pydicom.uid.UID, tmp_path: Path) -> None:
    folder = packed_series(tmp_path, syntax)
    dataset = pydicom.dcmread(folder / "001.dcm")
    dataset.Columns = 47
    dataset.save_as(folder / "001.dcm")
    with pytest.raises(UserError, match=r"say 48 x 40 pixels of 1 components, the header says 47 x 40"):
        read_volume(folder / "001.dcm")


def test_frames_of_a_file_come_in_the_order_asked_for(tmp_path: Path) -> None:
    array = noise(5, 24, 32)
    dataset = volume_datasets(array[:1])[0]
    dataset.NumberOfFrames, dataset.PixelData = 5, array.astype("<u2").tobytes()
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    folder = save([dataset], tmp_path)
    worker = Worker()
    found = list(worker.frames(folder / "001.dcm", [3, 0, 4], 24 * 32 * 2))
    worker.end()
    np.testing.assert_array_equal(found, array[[3, 0, 4]])


def test_a_decoder_that_is_killed_takes_only_its_own_process_with_it(tmp_path: Path) -> None:
    folder = packed_series(tmp_path, JPEGLSLossless)
    worker = Worker()
    os.kill(worker.process_id, signal.SIGSEGV)
    with pytest.raises(Died, match="signal 11"):
        list(worker.frames(folder / "001.dcm", [0], 24 * 32 * 2))
    worker.end()
    assert read_volume(folder).shape == (48, 40, 3)


def test_a_decoder_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 4096, (1, 2048, 2048))
    dataset = volume_datasets(array)[0]
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    folder = save([dataset], tmp_path)
    assert read_volume(folder).shape == (2048, 2048, 1)
    worker = Worker()
    with pytest.raises(Died, match=f"signal {signal.SIGVTALRM.value}"):
        list(worker.frames(folder / "001.dcm", [0], 24 * 32 * 2, cpu_s=0.05))
    worker.end()


def test_a_process_left_in_the_middle_of_its_answers_is_not_used_again(tmp_path: Path) -> None:
    dataset = volume_datasets(noise(1, 24, 32))[0]
    dataset.NumberOfFrames, dataset.PixelData = 3, noise(3, 24, 32).astype("<u2").tobytes()
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    folder = save([dataset], tmp_path)
    whole, broken_off = Worker(), Worker()
    assert len(list(whole.frames(folder / "001.dcm", [0, 1, 2], 24 * 32 * 2))) == 3
    next(broken_off.frames(folder / "001.dcm", [0, 1, 2], 24 * 32 * 2))
    workers = Workers()
    for worker in (broken_off, whole):
        workers.give_back(worker)
    with pytest.raises(ProcessLookupError):
        os.kill(broken_off.process_id, 0)
    assert workers.take() is whole
    whole.end()
