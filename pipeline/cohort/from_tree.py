"""A folder tree → every DICOM volume and NIfTI file in it. Reads headers, never pixels."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import UserError
from ..io.dicom.choose import Looked, looked_through
from ..io.dicom.series import Candidate
from ..io.nifti import looks_like_nifti
from ..io.volume import Source
from ..progress import say
from .listed import Unit, dicom_name, digest_of, file_state

BROKEN = ("damaged DICOM file", "unreadable")  # beginnings of what the scan says of files that may have been slices


def units_of_tree(root: Path) -> list[Unit]:
    """DICOM volumes by series number and UID, then NIfTI files by path, then places where all DICOM files are damaged.

    Raises: UserError where there is none of these.
    """
    with looked_through(root) as looked:
        units = [*_of_dicom(looked), *_of_nifti(looked), *_of_broken(looked)]
    zips = sum(why.startswith("zip") and name.lower().endswith(".zip") for name, why in looked.set_aside)
    if zips:
        say(f"{root}: {zips} zip files are not looked into; list them in a CSV, or unpack them")
    if not units:
        raise UserError("there is no DICOM volume and no NIfTI file", where=root, next="'unet inspect' says what is there.")
    return units


def _of_dicom(looked: Looked) -> list[Unit]:
    by_series: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in looked.candidates:
        by_series[candidate.series_uid].append(candidate)
    below, broken = _series_below(looked), _broken_by_folder(looked)
    found = []
    for members in by_series.values():
        files = sorted({frame.file for candidate in members for frame in candidate.frames})
        folder = Path(os.path.commonpath([file.parent for file in files]))
        crowded = len(below[folder]) > 1
        # with what may have been slices of it, so that the reader says that they are missing
        damaged = [file for place in {file.parent for file in files} for file in broken.get(place, [])] if crowded else []
        only = tuple(sorted({*files, *damaged})) if crowded else ()
        found += [_unit(candidate, members, folder, only, looked.root) for candidate in members]
    return found


def _unit(candidate: Candidate, members: Sequence[Candidate], folder: Path, only: tuple[Path, ...], root: Path) -> Unit:
    volume = candidate.name if len(members) > 1 else ""
    named = sum(c.name.lower() == volume.lower() for c in members) == 1  # else by its place among them, from 1
    return Unit(
        id=digest_of("series", candidate.series_uid, volume if named else f"{volume} {members.index(candidate) + 1}"),
        state=digest_of(*sorted(f"{frame.sop_uid} {frame.index}" for frame in candidate.frames)),
        source=folder,
        shown=os.path.relpath(folder, root),
        name=dicom_name(candidate.series_uid, candidate.series_number, volume),
        series=candidate.series_uid,
        volume=volume if named or len(members) == 1 else str(members.index(candidate) + 1),
        series_uid=candidate.series_uid,
        only=only,
    )


def _series_below(looked: Looked) -> Mapping[Path, set[str]]:
    """Folder → the series that have files in it or below."""
    found: dict[Path, set[str]] = defaultdict(set)
    for folder, uid in {(frame.file.parent, frame.series_uid) for frame in looked.found.frames}:
        for place in (folder, *folder.parents):
            found[place].add(uid)
    return found


def _of_nifti(looked: Looked) -> list[Unit]:
    names = sorted(name for name, why in looked.set_aside if why == "not DICOM")
    files = [looked.root / name for name in names if not Path(name).name.startswith(".")]
    return [
        Unit(
            id=digest_of("place", os.path.relpath(file, looked.root), "", ""),
            state=file_state(file),
            source=file,
            shown=os.path.relpath(file, looked.root),
            name=Source(path=file, kind="nifti").short_name,
        )
        for file in files
        if looks_like_nifti(file)
    ]


def _of_broken(looked: Looked) -> list[Unit]:
    """One failure a folder where there are only broken files: where slices of a series are left, its notice names them."""
    with_series = {frame.file.parent for frame in looked.found.frames}
    return [
        Unit(
            id=digest_of("broken", os.path.relpath(folder, looked.root)),
            state="",
            source=folder,
            shown=os.path.relpath(folder, looked.root),
            name=f"unreadable_{digest_of(os.path.relpath(folder, looked.root))[:6]}",
            fault=f"{len(files)} damaged or unreadable files, and no slice that can be read. Copy the folder again.",
        )
        for folder, files in sorted(_broken_by_folder(looked).items())
        if folder not in with_series
    ]


def _broken_by_folder(looked: Looked) -> Mapping[Path, list[Path]]:
    found: dict[Path, list[Path]] = defaultdict(list)
    for name, why in looked.found.set_aside:
        if why.startswith(BROKEN):
            found[(looked.root / name).parent].append(looked.root / name)
    return found
