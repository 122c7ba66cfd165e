"""A row of a CSV list → the volume it means. Reads headers, never pixels."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ..errors import UserError
from ..io.dicom.choose import choose, looked_through
from ..io.nifti import looks_like_nifti
from ..io.paths import existing
from ..io.picture import looks_like_picture
from ..io.volume import Source
from .listed import Unit, dicom_name, digest_of, file_state
from .records import one_line
from .rows import Row


def unit_of_row(row: Row, folder: Path) -> Unit:
    """The row's volume; one that cannot be found has a fault instead.

    Args:
        folder: of the list: paths are relative to it.
    """
    source = Path(os.path.normpath(folder / row.path))
    unit = Unit(
        id=digest_of("place", os.path.relpath(source, folder), row.series, row.volume),
        state="",
        source=source,
        shown=row.path,
        name=row.name or f"line_{row.line}",  # not of the place, which may be named after a patient
        series=row.series,
        volume=row.volume,
        pixel_size_mm=row.pixel_size_mm,
    )
    try:
        existing(source)
        if source.is_file() and (looks_like_nifti(source) or looks_like_picture(source)):
            name = row.name or Source(path=source, kind="nifti").short_name
            return replace(unit, name=name, state=file_state(source))
        return _of_dicom(unit, row)
    except UserError as error:
        return replace(unit, fault=one_line(error, source, unit.name))
    except OSError as error:
        return replace(unit, fault=f"cannot be read ({error.strerror})")


def _of_dicom(unit: Unit, row: Row) -> Unit:
    with looked_through(unit.source) as looked:
        chosen = choose(looked, unit.series, unit.volume)
        several = sum(candidate.series_uid == chosen.series_uid for candidate in looked.candidates) > 1
        volume = chosen.name if several else ""
        return replace(
            unit,
            id=digest_of("series", chosen.series_uid, volume),
            state=digest_of(*sorted(f"{frame.sop_uid} {frame.index}" for frame in chosen.frames)),
            name=row.name or dicom_name(chosen.series_uid, chosen.series_number, volume),
            series_uid=chosen.series_uid,
            formerly=unit.id,
        )
