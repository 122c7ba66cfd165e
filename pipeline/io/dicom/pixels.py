"""The pixels of frames as modality values (HU for CT). Knows nothing of where they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ...errors import Notice, UserError
from ...progress import bar
from ..room import refuse_without_room
from .decoder import DECODERS, RLE, OpenFile, Undecodable
from .elements import Damaged, read_header
from .frames import Frame
from .native import NATIVE, frame_bytes, native_frames, truncated
from .quiet import quiet
from .workers import WORKERS, Died, usable_workers

AIR_HU = -1024
MOST_FRAME_PIXELS = 2**28  # 16384 x 16384: a larger claim in a packed file is refused before memory is taken
LOSSY = tuple("1.2.840.10008.1.2.4." + ending for ending in ("50", "51", "81", "91", "203"))
FRAMES_A_JOB = 16  # of one file: few enough to keep all cores busy, enough to open the file seldom
SEND_AGAIN = "The file is damaged: send it again."


def read_stack(frames: Sequence[Frame], *, most_bytes: int | None = None) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """The modality values of a stack.

    Args:
        frames: in the stack's order, all of one size.
        most_bytes: that the result may take.
    Returns: (columns, rows, slices), int16 or int32 where every slope is 1 and every intercept whole, else float32; and
        notices about padding and lossy compression.
    Raises: UserError that names the file when pixels are missing, damaged or in a form no decoder knows, or too many.
    """
    jobs = _jobs(frames)
    for job in jobs:
        _refuse_impossible(frames[job[0]])
    array = _room(frames, most_bytes)

    def fill(job: list[int]) -> int:
        wanted = [frames[k] for k in job]
        stored = _stored(wanted[0].file, wanted)
        return sum(_put_values(plane, frame, array[:, :, k].T) for k, frame, plane in zip(job, wanted, stored, strict=True))

    with quiet(), ThreadPoolExecutor(usable_workers()) as pool:
        done = pool.map(fill, jobs)
        try:
            padded = sum(bar(done, title="pixels", total=len(jobs), unit="files"))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # after an error nobody waits for the rest
    return array, _notices(frames, padded)


def pixel_digest(frame: Frame) -> str:
    """A hash of the stored pixels with their scale: equal for one image sent twice, however it is packed."""
    stored = next(stored_frames(frame.file, [frame]))
    whole = stored.astype(np.int64) if stored.dtype.kind in "iu" else stored
    return hashlib.sha256(whole.tobytes() + repr((frame.slope, frame.intercept)).encode()).hexdigest()


def stored_frames(file: Path, frames: Sequence[Frame]) -> Iterator[np.ndarray]:
    """Stored values (rows, columns) of some frames of one file, only the stored bits, sign extended."""
    _refuse_impossible(frames[0])
    yield from _stored(file, frames)


def _stored(file: Path, frames: Sequence[Frame]) -> Iterator[np.ndarray]:
    """The same of a file whose header was judged."""
    syntax = frames[0].transfer_syntax
    unpack = _run_lengths if syntax == RLE else _unpacked if syntax in DECODERS else native_frames
    for frame, pixels in zip(frames, unpack(file, frames), strict=True):
        if pixels.shape != (frame.rows, frame.columns):
            what = f"the decoded pixels are {pixels.shape}, the header says {(frame.rows, frame.columns)}"
            raise UserError(what, where=frame.name, next=SEND_AGAIN)
        yield _stored_bits(pixels, frame)


def _jobs(frames: Sequence[Frame]) -> list[list[int]]:
    """Positions in the stack, those of one file together, in portions that keep all cores busy."""
    files: dict[Path, list[int]] = {}
    for k, frame in enumerate(frames):
        files.setdefault(frame.file, []).append(k)
    jobs = []
    for slices in files.values():
        syntax, portion = frames[slices[0]].transfer_syntax, FRAMES_A_JOB
        if syntax in DECODERS:  # the file is read and parsed for each portion: one for each core that can take one
            portion = max(FRAMES_A_JOB, -(-len(slices) // (1 if syntax == RLE else usable_workers())))
        jobs += [slices[k : k + portion] for k in range(0, len(slices), portion)]
    return jobs


def _run_lengths(file: Path, frames: Sequence[Frame]) -> Iterator[np.ndarray]:
    """RLE frames: plain Python unpacks them, which cannot crash, so no process is needed."""
    try:
        opened = OpenFile(file)
        for frame in frames:
            yield opened.frame(frame.index)
    except Undecodable as error:
        raise UserError(str(error), where=file.name, next=SEND_AGAIN) from error


def _unpacked(file: Path, frames: Sequence[Frame]) -> Iterator[np.ndarray]:
    """Compressed frames, by a process that may crash."""
    first, worker = frames[0], WORKERS.take()
    answers = worker.frames(file, [f.index for f in frames], frame_bytes(first))
    try:
        for frame in frames:
            try:
                answer = next(answers)
            except Died as death:
                what = f"the decoder of {first.transfer_syntax} broke down on the pixels ({death})"
                raise UserError(what, where=frame.name, next=SEND_AGAIN) from death
            if isinstance(answer, str):
                raise UserError(answer, where=frame.name, next="Send the file again, or the series uncompressed.")
            yield answer
    finally:
        WORKERS.give_back(worker)


def _room(frames: Sequence[Frame], most_bytes: int | None) -> np.ndarray:
    shape, kind = (frames[0].columns, frames[0].rows, len(frames)), np.dtype(_result_type(frames))
    refuse_without_room(shape, kind.itemsize, most_bytes, where=frames[0].name)
    try:
        return np.empty(shape, dtype=kind, order="F")
    except MemoryError as error:
        size_gb = float(np.prod(shape, dtype=np.float64)) * kind.itemsize / 1e9
        what = f"{shape[0]} x {shape[1]} x {shape[2]} voxels need {size_gb:.0f} GB of memory"
        raise UserError(what, where=frames[0].name, next="Read it on a larger machine.") from error


def _result_type(frames: Sequence[Frame]) -> type[np.generic]:
    """The smallest of int16, int32 and float32 that holds whatever these headers allow."""
    if any(f.slope != 1 or not float(f.intercept).is_integer() or f.modality_lut or f.float_pixels for f in frames):
        return np.float32
    least, most = 0.0, 0.0
    for frame in frames:
        low = -(2.0 ** (frame.bits_stored - 1)) if frame.signed else 0.0
        least = min(least, low + frame.intercept)
        most = max(most, low + 2.0**frame.bits_stored - 1 + frame.intercept)
    fitting = (kind for kind in (np.int16, np.int32) if np.iinfo(kind).min <= least and most <= np.iinfo(kind).max)
    return next(fitting, np.float32)


def _put_values(stored: np.ndarray, frame: Frame, values: np.ndarray) -> int:
    """Modality values of one frame into `values` (rows, columns); how many of them are padding."""
    if frame.modality_lut:
        values[...] = _looked_up(stored, frame)
    elif values.dtype.kind == "i":
        if stored.dtype.kind == "f":
            raise UserError("the pixels are fractions, the header says whole numbers", where=frame.name, next=SEND_AGAIN)
        np.add(stored, int(frame.intercept), out=values, dtype=np.int64 if stored.itemsize > 2 else np.int32, casting="unsafe")
    else:
        if frame.slope == 0 and stored.any():
            raise UserError(
                "RescaleSlope is 0: all values would be the same", where=frame.name, next="Export the series again."
            )
        values[...] = stored.astype(np.float64) * frame.slope + frame.intercept
    if frame.padding is None:
        return 0
    padding = (stored >= frame.padding[0]) & (stored <= frame.padding[1])
    if frame.modality == "CT":
        # some writers pad with a value that would read as bone; anything below air is harmless and stays as stored
        values[padding & (values > AIR_HU)] = AIR_HU
    return int(padding.sum())


def _looked_up(stored: np.ndarray, frame: Frame) -> np.ndarray:
    """Through the file's own table (PS3.3 C.11.1)."""
    from pydicom.pixels import apply_modality_lut

    try:
        with frame.file.open("rb") as stream:
            return np.asarray(apply_modality_lut(stored, read_header(stream, force=True)))
    except (Damaged, KeyError, ValueError, IndexError, AttributeError, NotImplementedError) as error:
        raise UserError("the modality table (ModalityLUTSequence) is damaged", where=frame.name, next=SEND_AGAIN) from error


def _refuse_impossible(frame: Frame) -> None:
    """Judges the claims of the header before any memory is taken."""
    file = frame.file
    if frame.transfer_syntax not in (*DECODERS, *NATIVE, ""):
        known = "uncompressed, RLE, JPEG, JPEG-LS, JPEG 2000 and HTJ2K are read"
        what = f"no decoder for the transfer syntax {frame.transfer_syntax} ({known})"
        raise UserError(what, where=frame.name, next="Send the series uncompressed.")
    if frame.rows < 1 or frame.columns < 1 or frame.bits_allocated not in (8, 16, 32, 64):
        what = f"the header claims {frame.columns} x {frame.rows} pixels of {frame.bits_allocated} bits"
        raise UserError(what, where=file.name, next=SEND_AGAIN)
    if not 1 <= frame.bits_stored <= frame.bits_allocated:
        what = f"{frame.bits_stored} bits stored in {frame.bits_allocated} bits allocated"
        raise UserError(what, where=file.name, next=SEND_AGAIN)
    if frame.high_bit != frame.bits_stored - 1:
        what = f"the highest bit is {frame.high_bit}, with {frame.bits_stored} bits stored it must be {frame.bits_stored - 1}"
        raise UserError(what, where=file.name, next="Export the series again: which bits are the value is not clear.")
    if frame.transfer_syntax in DECODERS and frame.rows * frame.columns > MOST_FRAME_PIXELS:
        raise UserError(
            f"the header claims {frame.columns} x {frame.rows} pixels in one frame", where=file.name, next=SEND_AGAIN
        )
    if frame.pixels_at and frame.transfer_syntax not in DECODERS:
        expected, available = frame_bytes(frame) * frame.frame_count, file.stat().st_size - frame.pixels_at
        if available < expected:
            raise truncated(frame, max(available, 0), expected)


def _stored_bits(pixels: np.ndarray, frame: Frame) -> np.ndarray:
    """Bits above Bits Stored are not part of the value (PS3.5 8.1.1): mask them, or extend the sign."""
    if pixels.dtype.kind not in "iu":
        return pixels
    width = 8 * pixels.itemsize
    unused = width - frame.bits_stored
    kind = np.dtype(f"{'i' if frame.signed else 'u'}{pixels.itemsize}")
    pixels = pixels.view(kind)
    if unused <= 0:
        return pixels
    return (pixels << unused) >> unused


def _notices(frames: Sequence[Frame], padded: int) -> tuple[Notice, ...]:
    found = []
    if padded:
        air = f"; where it would read as more than air it became {AIR_HU} HU" if frames[0].modality == "CT" else ""
        found.append(Notice(code="padding", sentence=f"{padded} pixels are padding (no data){air}"))
    bare = [f for f in frames if f.modality == "CT" and not f.rescaled and not f.modality_lut]
    if bare:
        sentence = (
            f"{len(bare)} of {len(frames)} slices have no RescaleSlope and no RescaleIntercept: values as stored count as HU"
        )
        found.append(Notice(code="no-rescale", sentence=sentence, where=bare[0].name))
    lossy = [f for f in frames if f.lossy or f.transfer_syntax in LOSSY]
    if lossy:
        sentence = f"{len(lossy)} of {len(frames)} slices went through lossy compression: grey values are not the scanner's"
        found.append(Notice(code="lossy", sentence=sentence, where=lossy[0].name))
    return tuple(found)
