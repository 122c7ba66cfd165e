"""Match the names of regions in a label object to the structures of a label table. Knows nothing of contours or pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ...errors import Notice, UserError, nearest
from ...labels import LabelTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One ROI of an RTSTRUCT or one segment of a SEG."""

    number: int
    name: str


def regions_of_structures(
    regions: Sequence[Region], table: LabelTable, structures: Mapping[str, int] | None, *, where: Path
) -> tuple[list[list[Region]], tuple[Notice, ...]]:
    """For each structure of the table the regions that make it up.

    Args:
        regions: as the object has them.
        structures: {pattern: value}; without it the table's own names. Upper and lower case are the same.
    Returns: one list a structure, empty where the object does not hold it (which is a notice).
    Raises: UserError when nothing fits, when a name fits two structures, or a value is not the table's.
    """
    patterns = dict(structures) if structures is not None else {s.name: s.value for s in table.structures}
    unknown = sorted(set(patterns.values()) - set(table.values))
    if unknown:
        what = f"the values {unknown} of the structure names are not in the label table"
        raise UserError(what, where=where, next="Take values of the label table.")
    found: list[list[Region]] = [[] for _ in table.structures]
    for region in regions:
        values = {value for pattern, value in patterns.items() if fnmatchcase(region.name.lower(), pattern.lower())}
        if len(values) > 1:
            what = f"the region '{region.name}' fits the structures {sorted(values)}"
            raise UserError(what, where=where, next="Make the names narrower.")
        for value in values:
            found[table.values.index(value)].append(region)
    if not any(found):
        wanted, names = sorted(patterns), [region.name for region in regions]
        what = f"no region fits {', '.join(wanted)}{nearest(wanted[0], names) if names else ': the object holds none'}"
        raise UserError(what, where=where, next="Give the names as the object has them, e.g. --structure 'GTV*=1'.")
    unnumbered = [region.name for owned in found for region in owned if region.number < 0]
    if unnumbered:
        raise UserError(f"the region '{unnumbered[0]}' has no number", where=where, next="Export the object again.")
    absent = [s.name for s, owned in zip(table.structures, found, strict=True) if not owned]
    if not absent:
        return found, ()
    sentence = f"not in this object: {', '.join(absent)}"
    return found, (Notice(code="structure-absent", sentence=sentence, where=where.name),)
