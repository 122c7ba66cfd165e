"""The page of a cohort: what to look at first. Self-contained HTML. Its reasons may name files, so it stays with the scans."""

from __future__ import annotations

from pathlib import PurePosixPath

from ..handout.sidecar import OVERLAY, PAGE
from ..report.page import Link, Page
from .table import Line, Table

SHOWN = 12  # pictures of the most doubtful: some hundred kilobytes each


def cohort_page(table: Table) -> Page:
    """Counts, then every series with the doubtful first, then pictures of the first of these."""
    bundles = sorted({line.record.bundle for line in table.lines if line.record.bundle})
    page = Page("Cohort", f"{len(table.lines)} series, by {', '.join(bundles) or 'no bundle yet'}")
    states = [f"{table.count(state)} {state}" for state in ("done", "failed", "unfinished", "missing") if table.count(state)]
    doubtful = [line for line in table.lines if line.doubts]
    page.text(f"{', '.join(states) or 'Nothing yet'}. {len(doubtful)} to look at, the others have nothing against them.")
    page.notice("For research. Not a medical device. Nothing against a mask does not mean that it is right.")
    failures = [line for line in table.lines if line.state != "done"]
    if failures:
        page.text("", heading="Without a mask")
        page.table(["series", "state", "why"], [[_name(line), line.state, _why(line)] for line in failures], "Failures.")
    done = [line for line in table.lines if line.state == "done"]
    if done:
        page.text("", heading="Masks, the doubtful first")
        caption = "Volumes in ml; >=: it reaches the edge of the scan, there may be more; n/a: the size of a voxel is unknown."
        columns = ["series", "look for", *table.structures]
        page.table(columns, [[_leading(line, table), _doubts(line), *_volumes(line, table)] for line in done], caption)
    _add_pictures(page, table, [line for line in done if line.doubts][:SHOWN])
    return page


def _name(line: Line) -> str:
    return line.record.folder


def _leading(line: Line, table: Table) -> Link | str:
    """To the series' own page, where it has one."""
    page = PurePosixPath(line.record.folder) / PAGE
    return Link(text=_name(line), to=page) if (table.out / page).is_file() else _name(line)


def _why(line: Line) -> str:
    if line.state == "missing":
        return "done, but files of it were removed: the same command makes them again"
    return line.record.reason or "a process is at it, or was killed: the same command does it again"


def _doubts(line: Line) -> str:
    parts = [f"{name} not found" for name in line.empty]
    parts += [notice["sentence"] for notice in line.record.notices]
    parts += [f"{name} reaches the border" for name in line.at_border]
    return "; ".join(parts)


def _volumes(line: Line, table: Table) -> list[object]:
    found = {str(volume["name"]): volume for volume in line.record.volumes}
    return [_volume(found[name]) if name in found else None for name in table.structures]


def _volume(found: dict[str, object]) -> object:
    if found["ml"] is None:
        return None
    return f"{'>= ' if found['at_border'] else ''}{float(str(found['ml'])):.4g}"


def _add_pictures(page: Page, table: Table, lines: list[Line]) -> None:
    if lines:
        page.text("", heading="Pictures of the most doubtful")
    for line in lines:
        file = table.out / line.record.folder / OVERLAY
        if file.is_file():
            page.picture(file, f"{_name(line)}: {_doubts(line)}", f"slices of {_name(line)} with the outlines of its mask")
