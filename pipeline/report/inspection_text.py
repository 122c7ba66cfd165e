"""An inspection as text for a console. Decides nothing, rounds for the eye."""

from __future__ import annotations

import shlex

from ..errors import printable
from ..evaluation.table_text import align
from ..io.inspection import Inspection, VolumeRow

HEADS = ("", "series", "UID ends", "description", "type", "volume", "voxels", "mm", "plane", "geometry", "off mm", "named by")
ROWS = 100  # volumes that are shown; the JSON has all
DESCRIPTION = 24  # characters of it that are shown
NAMES = 4  # files of one kind that are named; the JSON has all


def inspection_text(seen: Inspection) -> str:
    """Counts, a row a volume, what is wrong with each, what was set aside, what is taken and what to type next."""
    parts = [_counts(seen)]
    if seen.rows:
        rows = _without_empty_columns([HEADS, *(_cells(row) for row in seen.rows[:ROWS])])
        more = f"\n... {len(seen.rows) - ROWS} more (--json has all)" if len(seen.rows) > ROWS else ""
        parts.append(align(rows, left=len(rows[0])) + more)
    remarks = [line for row in seen.rows[:ROWS] for line in _remarks(row)]
    if remarks:
        parts.append("\n".join(remarks))
    if seen.set_aside:
        parts.append("\n".join(["set aside:", *(f"  {_kind(kind.why, kind.names)}" for kind in seen.set_aside)]))
    parts.append("\n".join(_verdict(seen)))
    return printable("\n\n".join(parts))


def _without_empty_columns(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    used = [any(row[column] for row in rows[1:]) for column in range(len(rows[0]))]
    return [tuple(cell for cell, shown in zip(row, used, strict=True) if shown) for row in rows]


def _counts(seen: Inspection) -> str:
    aside = sum(len(kind.names) for kind in seen.set_aside)
    if seen.kind != "dicom":
        return f"{seen.path}: {'a NIfTI file' if seen.kind == 'nifti' else 'a picture'}"
    counts = [_plural(seen.patients, "patient"), _plural(seen.studies, "study"), _plural(seen.series, "series")]
    counts += [_plural(len(seen.rows), "volume"), f"{aside} set aside"]
    return f"{seen.path}: {', '.join(counts)}"


def _plural(count: int, name: str) -> str:
    many = {"study": "studies", "series": "series"}.get(name, f"{name}s")
    return f"{count} {name if count == 1 else many}"


def _cells(row: VolumeRow) -> tuple[str, ...]:
    shown = row.description if len(row.description) <= DESCRIPTION else row.description[: DESCRIPTION - 3] + "..."
    channels = f"x{row.channels}" if row.channels > 1 else ""
    return (
        ">" if row.taken else "",
        "" if row.series_number is None else str(row.series_number),
        row.series,
        shown,
        row.modality,
        row.volume,
        "x".join(map(str, row.size)) + channels,
        "" if row.spacing_mm is None else "x".join(f"{edge:.3g}" for edge in row.spacing_mm),
        row.plane,
        row.geometry,
        "" if row.residual_mm is None else f"{row.residual_mm:.3f}",
        "cannot be read" if row.words is None else shlex.join(row.words),
    )


def _remarks(row: VolumeRow) -> list[str]:
    number = "" if row.series_number is None else f" {row.series_number}"
    name = f"series{number} ({row.series})" + (f' "{row.volume}"' if row.volume else "")
    lines = [f"{name} is not read: {row.fault}"] if row.fault and not row.taken else []
    return lines + ([] if row.taken else [f"{name}: {notice}" for notice in row.notices])


def _kind(why: str, names: tuple[str, ...]) -> str:
    more = f", ... and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return f"{len(names)} x {why}: {', '.join(names[:NAMES])}{more}"


def _verdict(seen: Inspection) -> list[str]:
    path, row = shlex.quote(str(seen.path)), seen.taken
    if row is not None:
        words = "".join(f" {shlex.quote(word)}" for word in row.words or ())
        which = f" series {row.series}" if seen.kind == "dicom" else ""
        why = f"named by{words}" if words else "the only volume"
        lines = [f"'unet predict' takes{which or ' it'}: {why}" + ("" if seen.pixels_tried else "; its pixels were not tried")]
        lines += [f"  note: {notice}" for notice in seen.notices]
        words += " --pixel-size MM" if seen.kind == "picture" else ""
        return [*lines, f"  unet predict BUNDLE {path} -o OUT{words}", f"  unet convert {path} OUT.nii.gz{words}"]
    choices = [row for row in seen.rows if row.words is not None and not row.fault]
    if choices:
        lines = ["'unet predict' takes none of them unless one is named, e.g.:"]
    else:
        choices = [row for row in seen.rows if row.words is not None]
        lines = ["nothing here can be read as it is" + ("; on an even grid, by:" if choices else "")]
    return lines + [f"  unet predict BUNDLE {path} -o OUT {shlex.join(row.words or ())}" for row in choices[:1]]
