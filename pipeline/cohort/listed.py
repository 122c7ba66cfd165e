"""One volume of a cohort, as the list names it. Opens nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ..io.volume import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What is segmented, claimed and recorded by itself."""

    id: str  # which volume: 16 hex digits that stay when its slices, its bundle or the settings change
    state: str  # of its slices: a hash of their UIDs, or of a file's size and time
    source: Path  # `read_volume` with this and the following words reads it
    series: str = ""
    volume: str = ""
    pixel_size_mm: float | None = None
    only: tuple[Path, ...] = ()  # its files, where those of other series lie among them
    shown: str  # the source as the list has it, for the table
    name: str  # of its folder in OUT
    series_uid: str = ""
    fault: str = ""  # why it cannot be read, where the listing knows that already
    formerly: str = ""  # its id as long as its place could not be read


def digest_of(*parts: str) -> str:
    """16 hex digits of a hash."""
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:16]


def file_state(path: Path) -> str:
    """Of one file, without reading it: another size or time is another scan."""
    stat = path.stat()
    return digest_of(str(stat.st_size), str(stat.st_mtime_ns))


def dicom_name(uid: str, number: int | None, volume: str) -> str:
    """The predictor's own name for a volume: nothing of the patient."""
    return Source(path=Path(), kind="dicom", series_uid=uid, series_number=number, volume_name=volume).short_name
