"""Look through all headers of a folder, file or zip, and find the one volume that is meant. Reads no pixels of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError, nearest
from ..volume import short_uid
from .archive import opened
from .scan import Scan, scan
from .series import Candidate, candidates_of

LISTED = 20  # candidates that a message shows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Looked:
    """What the headers say, before any choice is made."""

    root: Path  # where the files lie: what the user gave, or for a zip a temporary folder
    shown: Path  # what the user gave
    found: Scan
    candidates: tuple[Candidate, ...]
    aside: tuple[tuple[str, str], ...]  # (name, why) of image frames that are no slices

    @property
    def set_aside(self) -> tuple[tuple[str, str], ...]:
        """(name, why) of everything that belongs to no candidate."""
        return (*self.found.set_aside, *self.aside)


@contextmanager
def looked_through(path: Path, only: Sequence[Path] = ()) -> Iterator[Looked]:
    """The headers of everything at a path; the files of a zip exist as long as the block.

    Args:
        only: these files of a folder; () for all.
    Raises: UserError for an archive that cannot be unpacked safely.
    """
    with opened(path) as root:
        yield _look(root, path, only)


def choose(looked: Looked, series: str, volume: str) -> Candidate:
    """The candidate that the user means. Raises: UserError with all candidates where that is not clear."""
    left = matching(looked, series, volume)
    if len(left) == 1:
        return left[0]
    stray = [c.fault for c in left if c.fault is not None and len(c.frames) == 1]
    if stray and len({c.series_uid for c in left}) == 1:
        raise located(stray[0], looked.shown)  # a stack with one slice that does not fit: say that, not "two volumes"
    count = len({c.series_uid for c in left})
    of = f" in {count} series" if count > 1 else ""
    what = f"there are {len(left)} volumes{of}, and one is needed"
    raise UserError(what, where=looked.shown, next=f"Name one with --series and --volume: {_table(left)}")


def matching(looked: Looked, series: str, volume: str) -> list[Candidate]:
    """At least one candidate. Raises: UserError where there is none at all, or none of these names."""
    candidates, shown = looked.candidates, looked.shown
    if not candidates:
        what = f"there is no image volume: {what_there_is(looked)}"
        raise UserError(what, where=shown, next="Point at a CT or MR series.")
    left = [c for c in candidates if _is_series(c, series)] if series else list(candidates)
    if not left:
        names = sorted({str(c.series_number) for c in candidates} | {short_uid(c.series_uid) for c in candidates})
        raise UserError(f"there is no series '{series}'{nearest(series, names)}", where=shown, next=_table(candidates))
    return named(left, volume, shown) if volume else left


def located(error: UserError, shown: Path) -> UserError:
    """The same error with the folder before the file."""
    where = f"{shown}: {error.where}" if error.where is not None else shown
    return UserError(error.what, where=where, next=error.next)


def what_there_is(looked: Looked) -> str:
    """'3 x report, 1 x not DICOM' of what was set aside."""
    counts = Counter(why for _, why in looked.set_aside)
    return ", ".join(f"{count} x {why}" for why, count in sorted(counts.items())) or "no file at all"


def _look(root: Path, shown: Path, only: Sequence[Path]) -> Looked:
    found = scan(root, only)
    candidates, aside = candidates_of(found.frames)
    return Looked(root=root, shown=shown, found=found, candidates=tuple(candidates), aside=tuple(aside))


def _is_series(candidate: Candidate, series: str) -> bool:
    return series in (candidate.series_uid, short_uid(candidate.series_uid), str(candidate.series_number))


def named(candidates: Sequence[Candidate], volume: str, shown: Path) -> list[Candidate]:
    """Those with the name, else the one at this place from 1. Raises: UserError where there is none."""
    exact = [c for c in candidates if c.name.lower() == volume.strip().lower()]
    if exact:
        return exact
    if volume.strip().isdigit() and 1 <= int(volume) <= len(candidates):
        return [candidates[int(volume) - 1]]
    names = [c.name for c in candidates if c.name]
    if not names:
        raise UserError(
            f"there is no volume '{volume}': the series holds a single one", where=shown, next="Leave --volume out."
        )
    raise UserError(f"there is no volume '{volume}'{nearest(volume, names)}", where=shown, next=_table(candidates))


def _table(candidates: Sequence[Candidate]) -> str:
    rows = [f"| {k}: {c.describe()}" for k, c in enumerate(candidates[:LISTED], start=1)]
    more = f" | ... {len(candidates) - LISTED} more" if len(candidates) > LISTED else ""
    return " ".join(rows) + more
