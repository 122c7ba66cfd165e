"""List the image series below a folder with the RTSTRUCT and SEG objects that belong to them. Reads no pixels of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..paths import existing
from ..volume import short_uid
from .scan import LabelObject, scan
from .series import Candidate, candidates_of


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSeries:
    """One image series. `read_volume(folder, series=short_uid)` reads it."""

    folder: Path  # the deepest folder that holds all its files
    files: tuple[Path, ...]
    series_uid: str
    series_number: int | None
    modality: str
    patient: str  # "P" and 8 hex digits: a hash of the patient's ID (of the study's UID where the ID is empty)
    volumes: tuple[str, ...]  # names of its volumes; one name '' where it holds a single one
    fault: str  # '' or why it cannot be read
    label_objects: tuple[LabelObject, ...]

    @property
    def short_uid(self) -> str:
        """The last 8 digits of the UID."""
        return short_uid(self.series_uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All series below a folder."""

    series: tuple[FoundSeries, ...]
    strays: tuple[LabelObject, ...]  # labels whose series is not there
    set_aside: tuple[tuple[str, str], ...]  # (file name, why)


def find_series(folder: Path | str) -> list[FoundSeries]:
    """All image series below a folder that could be volumes, in the order of series number and UID."""
    return list(find_all(folder).series)


def find_all(folder: Path | str) -> Found:
    """The series, the labels without a series and what was set aside. Raises: UserError when there is no such folder."""
    found = scan(existing(folder))
    candidates, aside = candidates_of(found.frames)
    grouped: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        grouped.setdefault(candidate.series_uid, []).append(candidate)
    owners = {label.path: _owner(label, grouped) for label in found.label_objects}
    series = tuple(
        _found(members, tuple(label for label in found.label_objects if owners[label.path] == uid))
        for uid, members in grouped.items()
    )
    strays = tuple(label for label in found.label_objects if not owners[label.path])
    return Found(series=series, strays=strays, set_aside=(*found.set_aside, *aside))


def _owner(label: LabelObject, grouped: dict[str, list[Candidate]]) -> str:
    """The series that a label object names; where it names none, the only one in its frame of reference; else ''."""
    if label.referenced_series_uid:
        return label.referenced_series_uid if label.referenced_series_uid in grouped else ""
    shared = [uid for uid, c in grouped.items() if c[0].frames[0].frame_of_reference_uid == label.frame_of_reference_uid != ""]
    return shared[0] if len(shared) == 1 else ""


def _found(members: Sequence[Candidate], labels: tuple[LabelObject, ...]) -> FoundSeries:
    first = members[0].frames[0]
    files = tuple(sorted({frame.file for candidate in members for frame in candidate.frames}))
    faults = [candidate.fault for candidate in members if candidate.fault is not None]
    return FoundSeries(
        folder=Path(os.path.commonpath([file.parent for file in files])),
        files=files,
        series_uid=first.series_uid,
        series_number=first.series_number,
        modality=first.modality,
        patient=first.patient,
        volumes=tuple(candidate.name for candidate in members),
        fault=f"{faults[0].where or ''} {faults[0].what}".strip() if faults else "",
        label_objects=labels,
    )
