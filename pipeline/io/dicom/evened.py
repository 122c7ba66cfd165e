"""Put a stack with holes or uneven distances on an even grid, where the user asks for it. Reads no pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import Notice, UserError
from ..geometry import fit_stack, step_multiples
from .frames import Frame
from .stack import Layout, ordered_frames, planes_of

MOST_TIMES = 4  # as many slices as the source may come out; more is no even grid but an invention
LINE_MM = 0.1  # a slice may leave the line of the others by this; the user accepted uneven distances, not a displaced slice


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evened:
    """A grid and how the acquired slices fill it."""

    layout: Layout  # its frames and geometry are the source's, its affine the even grid's
    shown_in: tuple[int, ...]  # for each frame the grid slice that holds it and lies nearest to it
    taken: tuple[int, ...] = ()  # for each grid slice the frame that it copies; () where they are the same
    notices: tuple[Notice, ...] = ()


def evened(frames: Sequence[Frame]) -> Evened:
    """The even grid along the stack's own line on which every acquired slice is found again, unchanged.

    Each grid slice is a copy of the nearest acquired one, so nothing is blurred across slices and a network that sees slice
    by slice answers as it would on the source. The grid is as fine as the smallest distance between two slices, so that none
    is lost.

    Raises: UserError where the slices do not lie on one line, or the grid would have more than 4 times as many.
    """
    ordered = ordered_frames(frames)
    origins, column_steps, row_steps = planes_of(ordered)
    geometry, _ = fit_stack(origins, column_steps, row_steps, (ordered[0].columns, ordered[0].rows))
    centres = geometry.corners_mm.mean(axis=1)
    along = (centres[-1] - centres[0]) / np.linalg.norm(centres[-1] - centres[0])
    places_mm = (centres - centres[0]) @ along
    _refuse_off_line(centres - centres[0] - places_mm[:, None] * along, ordered)
    count = _count(places_mm, step_multiples(geometry), ordered)
    step_mm = float(places_mm[-1]) / (count - 1)
    grid_mm = np.arange(count) * step_mm
    taken, shown_in = _assigned(grid_mm, places_mm)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = column_steps.mean(axis=0), row_steps.mean(axis=0), along * step_mm
    middle = np.array([(ordered[0].columns - 1) / 2, (ordered[0].rows - 1) / 2, 0.0])
    affine[:3, 3] = centres[0] - affine[:3, :3] @ middle
    moved_mm = float(np.abs(grid_mm - places_mm[taken]).max())
    return Evened(
        layout=Layout(frames=tuple(ordered), affine=affine, geometry=geometry),
        shown_in=tuple(shown_in.tolist()),
        taken=tuple(taken.tolist()),
        notices=(_notice(geometry.kind, len(ordered), count, step_mm, moved_mm),),
    )


def _assigned(grid_mm: np.ndarray, places_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each grid slice the nearest frame, and for each frame the nearest of the grid slices that took it."""
    after = np.clip(np.searchsorted(places_mm, grid_mm), 1, len(places_mm) - 1)
    taken = np.where(grid_mm - places_mm[after - 1] <= places_mm[after] - grid_mm, after - 1, after)
    by_frame = np.lexsort((np.abs(grid_mm - places_mm[taken]), taken))  # of each frame's grid slices the nearest comes first
    frames, first = np.unique(taken[by_frame], return_index=True)
    shown_in = np.rint(places_mm / grid_mm[1]).astype(int)
    shown_in[frames] = by_frame[first]
    return taken, shown_in


def _count(places_mm: np.ndarray, multiples: np.ndarray | None, frames: Sequence[Frame]) -> int:
    """How many slices the even grid has: for a stack with holes as many as it had before they were lost."""
    steps_mm = np.diff(places_mm)
    if multiples is not None:
        count = int(multiples.sum()) + 1
    else:
        count = math.ceil(float(places_mm[-1] / steps_mm.min()) - 1e-6) + 1
    if count > MOST_TIMES * len(frames):
        k = int(steps_mm.argmin())
        what = (
            f"{frames[k].name} and {frames[k + 1].name} lie {steps_mm[k]:.2f} mm apart: an even grid would have {count} slices "
            f"for {len(frames)}"
        )
        raise UserError(what, next="Take out the slices that do not belong to the stack.")
    return count


def _refuse_off_line(off: np.ndarray, frames: Sequence[Frame]) -> None:
    away_mm = np.linalg.norm(off, axis=1)
    k = int(away_mm.argmax())
    if away_mm[k] > LINE_MM:
        what = f"the slice {frames[k].name} lies {away_mm[k]:.2f} mm beside the line of the others"
        raise UserError(what, next="No even grid holds these slices: send the series again, or take this file out.")


def _notice(kind: str, frames: int, count: int, step_mm: float, moved_mm: float) -> Notice:
    cause = "slices are missing" if kind == "gapped" else "the slices are spaced unevenly"
    sentence = (
        f"resampled: {cause}, so the {frames} slices were put on {count} even ones {step_mm:.2f} mm apart, each a copy of the "
        f"nearest; what is shown lies up to {moved_mm:.2f} mm from where it was acquired, and holes are filled with neighbours"
    )
    return Notice(code="evened", sentence=sentence)
