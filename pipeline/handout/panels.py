"""The slices that a page shows of a prediction: which ones, how much of them, with the outlines of what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..data.spread import spread
from ..inference.prediction import Prediction
from ..io.orient import plane_of
from ..report.screen import ct_window, grey_picture, letter_of, thinned, window_of
from ..report.slice_svg import Lines, Panel, Slice, draw_slice, path_of
from ..report.turned import View, acquisition_axis, turned
from .found import Found
from .outlines import borders

PLANES = ("axial", "coronal", "sagittal")
AROUND = 1.5  # so many times a structure's own extent is shown
LEAST_FIELD = 1 / 3  # of the whole slice, around small structures
BEYOND_PX = 4  # outlines are traced so far beyond the field: where they are cut is not seen
MOST_CORNERS = 8_000  # of one outline; about 3 bytes each
LEAN = 0.5  # pixels by which the last row of a sheared plane may be moved and still count as right-angled


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What becomes black and white, and how that is said."""

    words: str
    ends: tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Panels:
    """Draws slices of one prediction. Only single slices are copied, never the volume."""

    prediction: Prediction
    found: Sequence[Found]

    @cached_property
    def axis(self) -> int:
        """Of the array, across the acquired slices."""
        return acquisition_axis(self.prediction.image)

    def overview(self, most: int) -> tuple[Window, list[Panel]]:
        """Whole slices over the extent of everything that was found; over the whole scan where nothing was."""
        profile = np.sum([one.profiles[self.axis] for one in self.found], axis=0)
        planes = np.flatnonzero(profile) if profile.any() else np.arange(len(profile))
        window = self.window(max(self.found, key=lambda one: one.volume.voxels))
        return window, [self._panel(self.axis, k, window) for k in spread(planes.tolist(), most)]

    def of_structure(self, one: Found, most: int) -> tuple[Window, list[Panel]]:
        """Slices through a structure that was found: over its extent as acquired, then one in each of the other planes."""
        window = self.window(one)
        panels = [self._panel(self.axis, k, window, one) for k in spread(one.planes(self.axis).tolist(), most)]
        image = self.prediction.image
        others = [axis for axis in range(3) if axis != self.axis]
        if image.shape[self.axis] > 1 and image.source.spacing_known:
            others.sort(key=lambda axis: PLANES.index(plane_of(image.affine[:3, axis])))
            panels += [self._panel(axis, one.middle(axis), window, one) for axis in others]
        return window, panels

    def window(self, one: Found) -> Window:
        """For CT by the density of the structure, soft tissue where it was not found; else by the whole scan."""
        image = self.prediction.image
        if image.modality != "CT":
            low, high = self._scan_window
            return Window(words=f"grey from {_plain(low)} to {_plain(high)}, the 1st to 99th percentile", ends=(low, high))
        median_hu = 0.0
        if one.volume.voxels:
            view, k = self._views[self.axis], one.middle(self.axis)
            place = _place(view, k)
            mask = self._mask(view.labels[:, :, place], one.position)
            median_hu = float(np.median(view.image[:, :, place][mask]))
        name, ends = ct_window(median_hu)
        return Window(words=f"{name} window, {ends[0]:g} to {ends[1]:g} HU", ends=ends)

    @cached_property
    def _scan_window(self) -> tuple[float, float]:
        image = self.prediction.image
        grey = image.array if image.array.ndim == 3 else image.array[..., 0]
        return window_of(thinned(grey), image.modality)

    @cached_property
    def _views(self) -> tuple[View, View, View]:
        one, two, three = (turned(self.prediction.image, self.prediction.labels, axis=axis) for axis in range(3))
        return one, two, three

    def _panel(self, axis: int, index: int, window: Window, one: Found | None = None) -> Panel:
        """One plane across an axis of the array, around a structure where one is given."""
        view, image = self._views[axis], self.prediction.image
        k, edges = _place(view, index), _edges(view, image.source.spacing_known)
        columns, rows = self._field(view, edges, one)
        lines, step = self._lines(view, k, columns, rows, one)
        oriented = image.source.kind != "picture"
        name = plane_of(image.affine[:3, axis]) if oriented else "slice"
        number = f"{index + 1}/{view.slice_count}" if view.slice_count > 1 else ""
        drawn = Slice(
            picture=grey_picture(view.image[columns, rows, k].T, window.ends),
            size=(columns.stop - columns.start, rows.stop - rows.start),
            edges=edges,
            unit="mm" if image.source.spacing_known else "px",
            lines=lines,
            letters=_letters(view) if oriented else None,
            number=number,
            words=f"{name} {number}".strip(),
        )
        return Panel(svg=draw_slice(drawn), caption=name + (f", outlines in steps of {step} pixels" if step > 1 else ""))

    def _field(
        self, view: View, edges: tuple[tuple[float, float], tuple[float, float]], one: Found | None
    ) -> tuple[slice, slice]:
        """Columns and rows that are shown: a square around the structure, as far as the slice reaches."""
        shape = view.image.shape[:2]
        (across, _), (leaning, down) = edges
        if one is None or abs(leaning) * shape[1] > LEAN * across:
            return slice(0, shape[0]), slice(0, shape[1])
        view_from_array = np.linalg.inv(view.affine) @ self.prediction.image.affine
        ends = np.array([[one.planes(axis)[end] for axis in range(3)] for end in (0, -1)])
        places = np.rint(ends @ view_from_array[:3, :3].T + view_from_array[:3, 3])[:, :2]
        low, high = places.min(axis=0), places.max(axis=0) + 1
        size = np.array([across, down])
        side = max(AROUND * float(((high - low) * size).max()), LEAST_FIELD * float((np.array(shape) * size).min()))
        first, last = _around(low[0], high[0], side / across, shape[0]), _around(low[1], high[1], side / down, shape[1])
        return first, last

    def _lines(self, view: View, k: int, columns: slice, rows: slice, one: Found | None) -> tuple[list[Lines], int]:
        """Outlines of everything in the field, that of `one` last; and of how many pixels the coarsest takes one."""
        wide = [
            slice(max(0, part.start - BEYOND_PX), min(length, part.stop + BEYOND_PX))
            for part, length in ((columns, view.image.shape[0]), (rows, view.image.shape[1]))
        ]
        plane = np.ascontiguousarray(view.labels[wide[0], wide[1], k])  # looked at once for each structure
        shift = np.array([wide[0].start - columns.start, wide[1].start - rows.start])
        table = self.prediction.table
        order = sorted(range(len(table.structures)), key=lambda position: one is not None and position == one.position)
        values = None if table.overlapping else set(np.unique(plane).tolist())
        lines, coarsest = [], 1
        for position in order:
            structure = table.structures[position]
            if values is not None and structure.value not in values:
                continue
            path, step = outline_path(self._mask(plane, position).T, shift)
            if path:
                main = one is not None and position == one.position
                lines.append(Lines(name=f"structure-{structure.value}", colour=structure.colour, path=path, main=main))
                coarsest = max(coarsest, step)
        return lines, coarsest

    def _mask(self, plane: np.ndarray, position: int) -> np.ndarray:
        table = self.prediction.table
        return np.asarray(plane[..., position] > 0 if table.overlapping else plane == table.values[position])


def outline_path(mask: np.ndarray, shift: np.ndarray) -> tuple[str, int]:
    """Where a mask's pixels end, as SVG path data; '' for an empty mask.

    Args:
        mask: bool (rows, columns).
        shift: (columns, rows) from the path's origin to the mask's first corner, in pixels.
    Returns: the path; and of how many pixels one was taken, where the outline would have too many corners otherwise.
    """
    step = 1
    while _corners(mask[::step, ::step]) > MOST_CORNERS:
        step *= 2
    loops = borders(mask[::step, ::step])
    return path_of([(loop + 0.5) * step + shift for loop in loops]), step


def _corners(mask: np.ndarray) -> int:
    """How many corners its outline has."""
    wide = np.pad(mask, 1)
    parts = wide[:-1, :-1], wide[:-1, 1:], wide[1:, :-1], wide[1:, 1:]
    around = np.sum(parts, axis=0, dtype=np.uint8)
    crossing = (around == 2) & (parts[0] == parts[3])
    return int(np.count_nonzero((around == 1) | (around == 3)) + 2 * np.count_nonzero(crossing))


def _place(view: View, index: int) -> int:
    """Where the turned scan holds the slice of this index."""
    return int(np.argmax(view.slice_numbers == index + 1))


def _edges(view: View, known: bool) -> tuple[tuple[float, float], tuple[float, float]]:
    """Of a pixel within its own plane, (right, down) in mm; where those are not known, in widths of a pixel."""
    along, across = view.affine[:3, 0], view.affine[:3, 1]
    width = float(np.linalg.norm(along))
    leaning = float(across @ along) / width
    down = float(np.sqrt(max(float(across @ across) - leaning**2, 0.0)))
    unit = 1.0 if known else width
    return (width / unit, 0.0), (leaning / unit, down / unit)


def _letters(view: View) -> tuple[str, str, str, str]:
    right, down = view.affine[:3, 0], view.affine[:3, 1]
    return letter_of(-right), letter_of(right), letter_of(-down), letter_of(down)


def _around(low: float, high: float, wanted: float, length: int) -> slice:
    """As many pixels as wanted around the middle of a stretch, moved and cut so that they lie in the picture."""
    size = min(length, round(wanted))
    start = round(min(max((low + high - size) / 2, 0), length - size))
    return slice(start, start + size)


def _plain(value: float) -> str:
    """Four digits, and never a power of ten where the number is a usual grey value."""
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"
