"""Look through files and recognise what each is by its content, reading headers only. Knows nothing of stacks or pixels."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ...progress import bar
from .decoder import IN_WORKERS
from .elements import Damaged, items, read_header, text
from .frames import Frame, frames_of, has_pixels
from .native import DEFLATED
from .quiet import quiet
from .workers import WORKERS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

DICOMDIR = "1.2.840.10008.1.3.10"
MOST_UNPACKED_BYTES = 2**31  # of a deflated file; more is an attack, not an image
PREAMBLE, HEAD = 132, 4096  # bytes that tell DICOM from other files; that hold group 0002
CLASSES = "1.2.840.10008.5.1.4.1.1."
# beginning of the SOP class → what it is; the first that fits counts
KINDS: dict[str, str] = {
    DICOMDIR: "DICOMDIR",
    CLASSES + "66.4": "segmentation",
    CLASSES + "66.7": "segmentation",
    CLASSES + "66": "raw or spatial data",
    CLASSES + "481.3": "structures",
    CLASSES + "481.1": "",  # RT image: has pixels, judged as any image
    CLASSES + "481.2": "dose",
    CLASSES + "481": "radiotherapy object",
    CLASSES + "246.1": "radiotherapy object",
    CLASSES + "11": "presentation state",
    CLASSES + "88": "report",
    CLASSES + "104": "document",
    CLASSES + "9": "waveform",
}
# CT, MR, PET: classic, enhanced, legacy converted; what has no rows and columns is cut off
SLICES = tuple(CLASSES + ending for ending in ["2", "2.1", "2.2", "4", "4.1", "4.4", "128", "128.1", "130"])


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelObject:
    """An RTSTRUCT or SEG file and the image series that it says it belongs to."""

    path: Path
    kind: str  # "rtstruct" or "seg"
    referenced_series_uid: str  # '' where it does not say
    frame_of_reference_uid: str
    structure_names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What lies in a folder."""

    root: Path
    frames: tuple[Frame, ...]
    label_objects: tuple[LabelObject, ...]
    set_aside: tuple[tuple[str, str], ...]  # (file name, why)


def scan(root: Path, only: Sequence[Path] = ()) -> Scan:
    """Everything below a folder (or one file), in the order of the names. Links to files are followed, to folders not.

    Args:
        only: these files of the folder, where it is known which are wanted.
    """
    frames: list[Frame] = []
    labels: list[LabelObject] = []
    aside: list[tuple[str, str]] = []
    files = [root] if root.is_file() else sorted(only or _files_below(root, aside))
    prepared = False
    with quiet():
        for file in bar(files, title="headers", total=len(files), unit="files"):
            why = _take(file, frames, labels)
            if not prepared and frames and frames[-1].transfer_syntax in IN_WORKERS:
                WORKERS.prepare(max(len(files), len(frames)))
                prepared = True
            if why:
                aside.append((str(file.relative_to(root)) if file != root else file.name, why))
    return Scan(root=root, frames=tuple(frames), label_objects=tuple(labels), set_aside=tuple(aside))


def _files_below(root: Path, aside: list[tuple[str, str]]) -> list[Path]:
    """All files; a folder that may not be entered is set aside by name, since slices may lie in it."""

    def refused(error: OSError) -> None:
        aside.append((os.path.relpath(error.filename, root), f"unreadable ({error.strerror})"))

    return [
        path
        for folder, _, names in os.walk(root, onerror=refused)
        for path in (Path(folder, n) for n in names)
        if path.is_file()
    ]


def _take(file: Path, frames: list[Frame], labels: list[LabelObject]) -> str:
    """Adds what the file holds to the lists. Returns: '' for an image, else why the file is set aside."""
    try:
        dataset, pixels_at = _header(file)
        if dataset is None:
            return _other_kind(file)
        why = _kind(dataset)
        if why in ("segmentation", "structures"):
            labels.append(_label_object(dataset, file, why))
        if not why:
            frames += frames_of(dataset, file, patient=patient_of(dataset), pixels_at=pixels_at)
    except Damaged as error:
        return f"damaged DICOM file ({error})"
    except OSError as error:
        return f"unreadable ({error.strerror})"
    return why


def _other_kind(file: Path) -> str:
    if file.stat().st_size == 0:
        return "empty file"
    return "zip (give it by itself)" if zipfile.is_zipfile(file) else "not DICOM"


def looks_like_dicom(path: Path) -> bool:
    """Whether the file begins as DICOM does, with or without the preamble."""
    try:
        with path.open("rb") as stream:
            return _begins_as_dicom(stream.read(PREAMBLE))
    except OSError:
        return False


def _begins_as_dicom(head: bytes) -> bool:
    return head[128:132] == b"DICM" or head[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08", b"\x00\x02")


def patient_of(dataset: Dataset) -> str:
    """A name for the patient that says nothing of him: 'P' and 8 hex digits of a hash of the ID, or of the study's UID."""
    identity = text(dataset, "PatientID") or text(dataset, "StudyInstanceUID")
    return "P" + hashlib.sha256(identity.encode()).hexdigest()[:8]


def _header(file: Path) -> tuple[Dataset | None, int]:
    """The header, None for what is not DICOM, and where the pixels begin. Raises: Damaged for what breaks off in between."""
    with file.open("rb") as stream:
        head = stream.read(HEAD)
        if not _begins_as_dicom(head):
            return None, 0
        deflated = _refuse_bomb(head, stream)
        stream.seek(0)
        preamble = head[128:132] == b"DICM"
        dataset = read_header(stream, force=not preamble)
        pixels_at = 0 if deflated else stream.tell()
    if not text(dataset, "SOPClassUID") and not _class_in_meta(dataset):
        if preamble:
            raise Damaged("cut off before the SOP class")
        return None, 0
    return dataset, pixels_at


def _refuse_bomb(head: bytes, stream: IO[bytes]) -> bool:
    """A deflated data set is unpacked whole by the parser: count first, in bounded memory. Returns: whether it is deflated."""
    start = head.find(DEFLATED.encode())
    if start < 0 or head[start - 8 : start - 4] != b"\x02\x00\x10\x00":
        return False
    stream.seek(144 + int.from_bytes(head[140:144], "little"))  # behind group 0002
    unpacker, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while total <= MOST_UNPACKED_BYTES:
        chunk = unpacker.unconsumed_tail or stream.read(2**16)
        if not chunk or unpacker.eof:
            return True
        try:
            total += len(unpacker.decompress(chunk, 2**20))
        except zlib.error as error:
            raise Damaged("the deflated part is broken") from error
    raise Damaged(f"unpacks to more than {MOST_UNPACKED_BYTES} bytes")


def _kind(dataset: Dataset) -> str:
    """'' for an image, else what the object is. Raises: Damaged for an image that breaks off before its series is named."""
    own, in_meta, pixels = text(dataset, "SOPClassUID"), _class_in_meta(dataset), has_pixels(dataset)
    sop_class = own or in_meta
    if not own and not pixels and sop_class != DICOMDIR:
        raise Damaged("cut off in its header")  # perhaps within the class itself: nothing can be said of its kind
    image = "" if pixels else "object without an image"
    for beginning, kind in KINDS.items():
        if sop_class == beginning or sop_class.startswith(beginning + "."):
            return kind or image
    if not pixels and {sop_class, in_meta} & set(SLICES):
        if not text(dataset, "SeriesInstanceUID"):
            raise Damaged("cut off in its header")
        return ""  # a slice that breaks off: its series is refused by the names of the attributes that are missing
    return image


def _class_in_meta(dataset: Dataset) -> str:
    return text(getattr(dataset, "file_meta", dataset), "MediaStorageSOPClassUID")


def _label_object(dataset: Dataset, file: Path, why: str) -> LabelObject:
    if why == "segmentation":
        names = tuple(text(s, "SegmentLabel") for s in items(dataset, "SegmentSequence"))
        series, frame_of_reference = items(dataset, "ReferencedSeriesSequence"), text(dataset, "FrameOfReferenceUID")
    else:
        names = tuple(text(s, "ROIName") for s in items(dataset, "StructureSetROISequence"))
        places = items(dataset, "ReferencedFrameOfReferenceSequence")
        studies = [study for place in places for study in items(place, "RTReferencedStudySequence")]
        series = [s for study in studies for s in items(study, "RTReferencedSeriesSequence")]
        frame_of_reference = text(places[0], "FrameOfReferenceUID") if places else ""
    return LabelObject(
        path=file,
        kind="seg" if why == "segmentation" else "rtstruct",
        referenced_series_uid=text(series[0], "SeriesInstanceUID") if series else "",
        frame_of_reference_uid=frame_of_reference,
        structure_names=names,
    )
