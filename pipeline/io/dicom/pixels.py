"""Decode the pixels of frames and bring them to modality values (HU for CT). Knows nothing of where they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import Notice, UserError
from ...progress import bar
from .elements import Damaged, get, read_whole
from .frames import Frame
from .quiet import quiet

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

AIR_HU = -1024
MOST_FRAME_PIXELS = 2**28  # 16384 x 16384: a larger claim in a packed file is refused before memory is taken
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
# transfer syntax → pydicom's plug-ins for it in our order; the first that decodes is taken
DECODERS: dict[str, tuple[str, ...]] = {
    "1.2.840.10008.1.2.5": ("pydicom",),  # RLE
    "1.2.840.10008.1.2.4.50": ("gdcm", "pillow"),  # JPEG baseline, lossy
    "1.2.840.10008.1.2.4.51": ("gdcm", "pillow"),  # JPEG extended, lossy
    "1.2.840.10008.1.2.4.57": ("gdcm",),  # JPEG lossless, process 14
    "1.2.840.10008.1.2.4.70": ("gdcm",),  # JPEG lossless, selection value 1
    "1.2.840.10008.1.2.4.80": ("gdcm", "pyjpegls"),  # JPEG-LS
    "1.2.840.10008.1.2.4.81": ("gdcm", "pyjpegls"),  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90": ("pylibjpeg", "gdcm", "pillow"),  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": ("pylibjpeg", "gdcm", "pillow"),  # JPEG 2000
    "1.2.840.10008.1.2.4.201": ("pylibjpeg",),  # HTJ2K lossless
    "1.2.840.10008.1.2.4.202": ("pylibjpeg",),  # HTJ2K lossless, RPCL
    "1.2.840.10008.1.2.4.203": ("pylibjpeg",),  # HTJ2K
}
LOSSY = tuple("1.2.840.10008.1.2.4." + ending for ending in ("50", "51", "81", "91", "203"))


def read_stack(frames: Sequence[Frame]) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """The modality values of a stack.

    Args:
        frames: in the stack's order, all of one size.
    Returns: (columns, rows, slices), int16 or int32 where every slope is 1 and every intercept whole, else float32; and
        notices about padding and lossy compression.
    Raises: UserError that names the file when pixels are missing, damaged or in a form no decoder knows.
    """
    files = _by_file(frames)
    for file, slices in files.items():
        _refuse_impossible(file, frames[slices[0]])
    array, padded = _room(frames), 0
    for file, slices in bar(files.items(), title="pixels", total=len(files), unit="files"):
        wanted = [frames[k] for k in slices]
        for k, (values, padding_count) in zip(slices, _modality_values(file, wanted), strict=True):
            array[:, :, k] = values.T
            padded += padding_count
    return array, _notices(frames, padded)


def pixel_digest(frame: Frame) -> str:
    """A hash of the stored pixels with their scale: equal for one image sent twice, however it is packed."""
    stored = next(stored_frames(frame.file, [frame]))
    return hashlib.sha256(stored.tobytes() + repr((frame.slope, frame.intercept)).encode()).hexdigest()


def stored_frames(file: Path, frames: Sequence[Frame]) -> Iterator[np.ndarray]:
    """Stored values (rows, columns) of some frames of one file, only the stored bits, sign extended."""
    for stored, _ in _decoded(file, frames):
        yield stored


def _room(frames: Sequence[Frame]) -> np.ndarray:
    shape, kind = (frames[0].columns, frames[0].rows, len(frames)), np.dtype(_result_type(frames))
    try:
        return np.empty(shape, dtype=kind, order="F")
    except MemoryError as error:
        size_gb = float(np.prod(shape, dtype=np.float64)) * kind.itemsize / 1e9
        what = f"{shape[0]} x {shape[1]} x {shape[2]} voxels need {size_gb:.0f} GB of memory"
        raise UserError(what, where=frames[0].name, next="Read it on a larger machine.") from error


def _by_file(frames: Sequence[Frame]) -> dict[Path, list[int]]:
    files: dict[Path, list[int]] = {}
    for k, frame in enumerate(frames):
        files.setdefault(frame.file, []).append(k)
    return files


def _result_type(frames: Sequence[Frame]) -> type[np.generic]:
    """The smallest of int16, int32 and float32 that holds whatever these headers allow."""
    if any(f.slope != 1 or not float(f.intercept).is_integer() or f.modality_lut or f.bits_allocated > 16 for f in frames):
        return np.float32
    for frame in frames:
        low = -(2 ** (frame.bits_stored - 1)) if frame.signed else 0
        high = low + 2**frame.bits_stored - 1
        if low + frame.intercept < -(2**15) or high + frame.intercept >= 2**15:
            return np.int32
    return np.int16


def _modality_values(file: Path, frames: Sequence[Frame]) -> Iterator[tuple[np.ndarray, int]]:
    """Per frame the values (rows, columns) and how many of them are padding."""
    from pydicom.pixels import apply_modality_lut

    for frame, (stored, dataset) in zip(frames, _decoded(file, frames), strict=True):
        if frame.modality_lut:
            values = apply_modality_lut(stored, dataset)
        elif frame.slope == 1 and float(frame.intercept).is_integer() and stored.dtype.kind in "iu":
            values = stored.astype(np.int32) + int(frame.intercept)
        else:
            values = stored.astype(np.float64) * frame.slope + frame.intercept
        count = 0
        if frame.padding is not None:
            padding = (stored >= frame.padding[0]) & (stored <= frame.padding[1])
            count = int(padding.sum())
            if frame.modality == "CT":
                # some writers pad with a value that would read as bone; anything below air is harmless and stays as stored
                values = np.where(padding & (values > AIR_HU), AIR_HU, values)
        yield values, count


def _decoded(file: Path, frames: Sequence[Frame]) -> Iterator[tuple[np.ndarray, Dataset]]:
    first = frames[0]
    _refuse_impossible(file, first)
    try:
        dataset = read_whole(file)
    except Damaged as error:
        raise UserError(f"the file is damaged ({error})", where=file.name, next="Send or copy it again.") from error
    _refuse_short(file, first, dataset)
    for frame in frames:
        pixels = _decode(dataset, frame)
        if pixels.shape != (frame.rows, frame.columns):
            what = f"the decoded pixels are {pixels.shape}, the header says {(frame.rows, frame.columns)}"
            raise UserError(what, where=frame.name, next="The file is damaged: send it again.")
        yield _stored_bits(pixels, frame), dataset


def _refuse_impossible(file: Path, frame: Frame) -> None:
    """Judges the claims of the header before any memory is taken."""
    if frame.transfer_syntax not in (*DECODERS, *NATIVE, ""):
        known = "uncompressed, RLE, JPEG, JPEG-LS, JPEG 2000 and HTJ2K are read"
        what = f"no decoder for the transfer syntax {frame.transfer_syntax} ({known})"
        raise UserError(what, where=frame.name, next="Send the series uncompressed.")
    if frame.rows < 1 or frame.columns < 1 or frame.bits_allocated not in (8, 16, 32, 64):
        what = f"the header claims {frame.columns} x {frame.rows} pixels of {frame.bits_allocated} bits"
        raise UserError(what, where=file.name, next="The file is damaged: send it again.")
    if not 1 <= frame.bits_stored <= frame.bits_allocated:
        what = f"{frame.bits_stored} bits stored in {frame.bits_allocated} bits allocated"
        raise UserError(what, where=file.name, next="The file is damaged: send it again.")
    if frame.transfer_syntax in DECODERS and frame.rows * frame.columns > MOST_FRAME_PIXELS:
        raise UserError(f"the header claims {frame.columns} x {frame.rows} pixels in one frame", where=file.name)
    if frame.transfer_syntax in NATIVE and frame.transfer_syntax != NATIVE[2]:
        _refuse_shorter_than(file, frame, file.stat().st_size)


def _refuse_short(file: Path, frame: Frame, dataset: Dataset) -> None:
    data = next((d for d in (get(dataset, k) for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")) if d), None)
    if not isinstance(data, bytes):
        raise UserError("there are no pixels in the file (truncated?)", where=file.name, next="Send or copy it again.")
    if frame.transfer_syntax not in DECODERS:
        _refuse_shorter_than(file, frame, len(data))


def _refuse_shorter_than(file: Path, frame: Frame, available: int) -> None:
    expected = frame.rows * frame.columns * frame.frame_count * frame.bits_allocated // 8
    if available < expected:
        what = f"the pixels are truncated: {available} of {expected} bytes are there"
        raise UserError(what, where=file.name, next="The file is incomplete: send or copy it again.")


def _decode(dataset: Dataset, frame: Frame) -> np.ndarray:
    from pydicom.pixels import get_decoder

    uid = frame.transfer_syntax or NATIVE[0]  # a data set without group 0002
    reasons = []
    for plugin in DECODERS.get(uid, ("",)):  # '' lets pydicom unpack plain pixels itself
        try:
            with quiet():
                found, _ = get_decoder(uid).as_array(dataset, index=frame.index, raw=True, decoding_plugin=plugin)
            return np.asarray(found)
        except MemoryError:
            raise
        except Exception as error:  # each library has its own errors for a damaged stream; the next one may read it
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            reasons.append(f"{plugin}: {reason}" if plugin else reason)
    name = get_decoder(uid).UID.name
    raise UserError(
        f"the pixels ({name}) cannot be decoded: {'; '.join(reasons)}", where=frame.name, next="Send the file again."
    )


def _stored_bits(pixels: np.ndarray, frame: Frame) -> np.ndarray:
    """Bits above Bits Stored are not part of the value (PS3.5 8.1.1): mask them, or extend the sign."""
    unused = frame.bits_allocated - frame.bits_stored
    if pixels.dtype.kind not in "iu" or unused == 0 or frame.bits_allocated > 32:
        return pixels
    wide = pixels.astype(np.int64) & (2**frame.bits_stored - 1)
    if frame.signed:
        wide = np.where(wide >= 2 ** (frame.bits_stored - 1), wide - 2**frame.bits_stored, wide)
    return np.asarray(wide, dtype=np.int32 if frame.bits_stored < 32 or frame.signed else np.uint32)


def _notices(frames: Sequence[Frame], padded: int) -> tuple[Notice, ...]:
    found = []
    if padded:
        air = f"; where it would read as more than air it became {AIR_HU} HU" if frames[0].modality == "CT" else ""
        found.append(Notice(code="padding", sentence=f"{padded} pixels are padding (no data){air}"))
    lossy = [f for f in frames if f.lossy or f.transfer_syntax in LOSSY]
    if lossy:
        sentence = f"{len(lossy)} of {len(frames)} slices went through lossy compression: grey values are not the scanner's"
        found.append(Notice(code="lossy", sentence=sentence, where=lossy[0].name))
    return tuple(found)
