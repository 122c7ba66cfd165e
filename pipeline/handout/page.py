"""`report.html` beside each mask: what was found, where it lies on the anatomy, warnings first. Repeats the sidecar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from ..errors import printable, some
from ..inference.prediction import Prediction
from ..io.volume import Source
from ..report.page import Marked, Page
from ..report.planes import oblique_deg
from ..report.slice_svg import Panel
from .found import Found, find_structures
from .panels import Panels
from .sidecar import PAGE

DISCLAIMER = "For research. Not a medical device. Look at every mask before you use it."
MOST_BYTES = 4_500_000  # of all pictures: larger pages open slowly and are not mailed
MOST_NOTICES = 20
SHORTEST_NAME = 5  # of a file, that can be somebody's: '12' is a number in many sentences
OVERVIEW = 8
SLICES = ((8, 6), (24, 4))  # up to so many structures so many acquired slices of each
FEWEST_SLICES = 2


def write_page(prediction: Prediction, said: Mapping[str, Any], path: Path) -> None:
    """Write the page.

    Args:
        said: the sidecar of the same prediction: numbers and words are taken from it.
    """
    found = find_structures(prediction)
    page = Page(f"Segmentation: {prediction.name}", _subtitle(said))
    page.text(DISCLAIMER)
    _add_warnings(page, prediction, said, found)
    _add_pictures(page, prediction, found)
    _add_image(page, prediction, said)
    _add_origin(page, said)
    page.write(path)


def _subtitle(said: Mapping[str, Any]) -> str:
    origin, image = said["provenance"], said["image"]
    bundle = " ".join(word for word in (origin.get("bundle", ""), origin.get("bundle_version", "")) if word)
    size = " x ".join(map(str, image["shape"]))
    return "; ".join(part for part in (bundle, f"{image['modality']} {size}".strip()) if part)


def _add_warnings(page: Page, prediction: Prediction, said: Mapping[str, Any], found: Sequence[Found]) -> None:
    missing = [one.volume.structure.name for one in found if not one.volume.voxels]
    if len(missing) == len(found):
        page.notice("Nothing was marked: none of the structures was found. The pictures show the scan all the same.")
    elif missing:
        page.notice(f"{len(missing)} of {len(found)} structures not found: {some(missing, 10)}.")
    if said["resampled"]:
        page.notice(
            f"Resampled ({', '.join(said['resampled'])}): {said['mask']} lies on another grid than the acquired slices. "
            "The pictures show the scan as it was read."
        )
    for notice in prediction.notices[:MOST_NOTICES]:
        page.notice(_without_files(str(notice), prediction.image.source))
    if len(prediction.notices) > MOST_NOTICES:
        page.notice(f"{len(prediction.notices) - MOST_NOTICES} more notices stand in mask.json.")


def _without_files(text: str, source: Source) -> str:
    """The text with FILE for each DICOM file's name: archives name files after patients, and pages are mailed."""
    if source.kind != "dicom":
        return text
    paths = [*map(str, source.slice_files), *(name for name, _ in source.files_set_aside), str(source.path)]
    names = {printable(name) for path in paths for name in (path, PurePath(path).name, PurePath(path).stem)}
    for name in sorted(names, key=len, reverse=True):
        if len(name) >= SHORTEST_NAME:
            text = text.replace(name, "FILE")
    return text


def _add_pictures(page: Page, prediction: Prediction, found: Sequence[Found]) -> None:
    there = [one for one in found if one.volume.voxels]
    panels = Panels(prediction=prediction, found=found)
    window, slices = panels.overview(OVERVIEW)
    page.text("", heading="Overview")
    structures = [(f"structure-{s.value}", s.name, s.colour) for s in (one.volume.structure for one in there)]
    page.switches("Outlines", [("contours", "all outlines", None), *structures])
    reach = "everything that was found" if there else "the whole scan"
    page.gallery(_sentence(f"Whole slices over the extent of {reach}; {window.words}"), slices)
    _add_table(page, panels, found)
    room = MOST_BYTES - _size(slices)
    most = next((slices for count, slices in SLICES if len(there) <= count), FEWEST_SLICES)
    left_out: list[str] = []
    for one in there:
        window, slices = panels.of_structure(one, most)
        if left_out or _size(slices) > room:
            left_out.append(one.volume.structure.name)
            continue
        room -= _size(slices)
        page.text("", heading=one.volume.structure.name)
        page.gallery(_sentence(f"{_amount(one)}; {window.words}"), slices)
    if left_out:
        page.notice(f"The page would be too large: pictures of {len(left_out)} structures were left out: {some(left_out, 10)}.")


def _size(panels: Sequence[Panel]) -> int:
    return sum(len(panel.svg) for panel in panels)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _add_table(page: Page, panels: Panels, found: Sequence[Found]) -> None:
    """A row a structure; those that were not found stand first and stand out."""
    rows = [
        _row(one, panels.axis)
        for one in sorted(found, key=lambda one: one.volume.voxels > 0)  # else in the table's order
    ]
    columns = ["structure", "volume", "voxels", "pieces", "largest piece", "slices", "reaches the scan's border"]
    caption = ">=: it reaches the border, so there may be more of it. Pieces touch over faces, edges or corners."
    page.text("", heading="Structures")
    page.table(columns, rows, caption)


def _row(one: Found, axis: int) -> list[object]:
    structure = one.volume.structure
    if not one.volume.voxels:
        name = Marked(text=structure.name, colour=structure.colour, standing_out=True)
        nothing = [Marked(text="", number=True)] * 4
        return [name, Marked(text="not found", number=True, standing_out=True), *nothing, ""]
    planes = one.planes(axis)
    return [
        Marked(text=structure.name, colour=structure.colour),
        Marked(text=_amount(one), number=True),
        one.volume.voxels,
        one.pieces,
        Marked(text=_share(one.largest, one.volume.voxels), number=True),
        Marked(text=f"{planes[0] + 1} to {planes[-1] + 1}", number=True),
        ", ".join(one.borders) or "no",
    ]


def _amount(one: Found) -> str:
    """What the console says after the name: '>= 2.34 ml'."""
    return str(one.volume).removeprefix(f"{one.volume.structure.name}: ")


def _share(part: int, whole: int) -> str:
    """In per cent; 100 % is said of the whole alone."""
    return "100 %" if part == whole else f"{min(99.9, 100 * part / whole):.1f} %"


def _add_image(page: Page, prediction: Prediction, said: Mapping[str, Any]) -> None:
    image = said["image"]
    spacing = image["spacing_mm"]
    rows: list[list[object]] = [
        ["name", image["name"]],
        ["kind", image["kind"]],
        ["series", _of(image["series_number"], image["series"])],
        ["volume of the series", image["volume"]],
        ["modality", image["modality"] or "not said"],
        ["columns, rows, slices", " x ".join(map(str, image["shape"]))],
        ["spacing", "not known: no millimetres are claimed" if spacing is None else f"{_spaced(spacing)} mm"],
        ["geometry", image["geometry"]],
        ["largest distance from the grid", None if image["geometry"] is None else f"{image['geometry_residual_mm']:g} mm"],
    ]
    turn_deg = oblique_deg(prediction.image.affine)
    if turn_deg >= 1 and image["kind"] != "picture":
        rows.append(["oblique", f"turned by up to {turn_deg:.0f} degrees: each letter names the side nearest to its edge"])
    aside = Counter(row["why"] for row in image["files_set_aside"])  # not their names: those are other people's
    rows += [["files set aside", f"{count}: {_without_files(why, prediction.image.source)}"] for why, count in aside.items()]
    page.text("", heading="Scan")
    page.table(["", ""], [row for row in rows if row[1] is not None], "As it was read.")


def _of(number: int | None, uid: str | None) -> str | None:
    words = [str(number)] if number is not None else []
    return " ".join([*words, *([f"(UID ends in {uid})"] if uid else [])]) or None


def _spaced(spacing_mm: Sequence[float]) -> str:
    return " x ".join(f"{mm:g}" for mm in spacing_mm)


def _add_origin(page: Page, said: Mapping[str, Any]) -> None:
    origin = dict(said["provenance"])
    command = origin.pop("command", "")
    page.text("", heading="Where it came from")
    page.table(["", ""], [[key.replace("_", " "), value] for key, value in origin.items()], "Bundle, settings and software.")
    if command:
        page.commands([command])
    timings = said["timings_s"]
    rows = [[stage, float(seconds)] for stage, seconds in timings.items()]
    page.table(["stage", "seconds"], [*rows, ["together", float(sum(timings.values()))]], "Time, without this page.")
    files = [[file["name"], file["what"], file["exact"]] for file in said["files"] if file["name"] != PAGE]
    page.table(["file", "what it is", "exact on the acquired slices"], files, "Beside this page.")
