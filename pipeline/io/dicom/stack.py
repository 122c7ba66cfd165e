"""Order the frames of one stack by position and find its grid, or say in millimetres why it has none. Reads no pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import Notice, UserError, listed
from ..geometry import Geometry, fit_stack, ras_from_lps, regular_tolerance_mm, step_multiples, steps_mm
from .frames import Frame

UNIT_TOLERANCE = 1e-3  # direction cosines: length 1 and perpendicular within rounding
STEEPEST_DEG = 60.0  # a step further from the normal than this is no slice stack; gantries tilt by 30 degrees at most
STATED_FRACTION = 0.05  # Spacing Between Slices that differs from the positions by more is worth a word
UNKNOWN_THICKNESS_MM = 1.0  # of one slice that does not say: its place is known all the same, its volume is not
ACCEPT = "--accept-irregular puts the slices on an even grid all the same, and says so."
LISTED = 6  # so many distances or files are listed in a message, then "..."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """A stack with a grid."""

    frames: tuple[Frame, ...]  # along +normal
    affine: np.ndarray  # 4x4, voxel index (column, row, slice) to mm, RAS+
    geometry: Geometry
    notices: tuple[Notice, ...] = ()
    spacing_known: bool = True  # False: one slice that does not say how thick it is


class Uneven(UserError):
    """Holes or uneven distances: what `--accept-irregular` may put on an even grid."""


def axes_of(frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors (LPS) along increasing column index, along increasing row index, and their normal."""
    if frame.orientation is None:
        raise ValueError(f"{frame.name} has no orientation")
    along_row, along_column = np.array(frame.orientation[:3]), np.array(frame.orientation[3:])
    return along_row, along_column, np.cross(along_row, along_column)


def lay_out(frames: Sequence[Frame]) -> Layout:
    """The grid of frames that share orientation, pixel spacing and size, one a position.

    Raises: UserError that names files, positions or millimetres when there is no single grid.
    """
    for frame in frames:
        _refuse_unplaced(frame)
    ordered = ordered_frames(frames)
    origins, column_steps, row_steps = planes_of(ordered)
    if len(ordered) == 1:
        return _single(ordered[0], origins[0], column_steps[0], row_steps[0])
    geometry, affine = fit_stack(origins, column_steps, row_steps, (frames[0].columns, frames[0].rows))
    if geometry.kind == "gapped":
        raise _gapped(geometry, ordered)
    if geometry.kind == "irregular":
        raise _irregular(geometry, ordered)
    _refuse_flat(affine, ordered)
    return Layout(frames=tuple(ordered), affine=affine, geometry=geometry, notices=_stated_distance(ordered, affine))


def ordered_frames(frames: Sequence[Frame]) -> list[Frame]:
    """Along the normal of the first one; nothing but positions decides."""
    _, _, normal = axes_of(frames[0])
    return sorted(frames, key=lambda frame: float(normal @ np.array(frame.position)))


def planes_of(frames: Sequence[Frame]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre of the first voxel, step to the next column, step to the next row; (frames, 3) each, RAS mm."""
    origins, column_steps, row_steps = (ras_from_lps(np.array(part)) for part in zip(*map(frame_plane, frames), strict=True))
    return origins, column_steps, row_steps


def _refuse_unplaced(frame: Frame) -> None:
    if frame.missing:
        what = f"{frame.missing} is missing or unreadable: the place in the patient or the values are unknown"
        raise UserError(what, where=frame.name, next="Export the series again with all its attributes.")
    along_row, along_column, _ = axes_of(frame)
    off = max(abs(np.linalg.norm(along_row) - 1), abs(np.linalg.norm(along_column) - 1), abs(along_row @ along_column))
    if off > UNIT_TOLERANCE:
        what = f"the orientation {list(frame.orientation or ())} is not two perpendicular unit vectors (off by {off:.4f})"
        raise UserError(what, where=frame.name, next="Export the series again.")


def frame_plane(frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre of the first voxel, step to the next column, step to the next row (LPS, mm; PS3.3 C.7.6.2.1.1)."""
    along_row, along_column, _ = axes_of(frame)
    between_rows, between_columns = frame.pixel_spacing or (0.0, 0.0)
    return np.array(frame.position), along_row * between_columns, along_column * between_rows


def _single(frame: Frame, origin: np.ndarray, column_step: np.ndarray, row_step: np.ndarray) -> Layout:
    """One slice: its thickness is the only distance there is."""
    stated_mm = frame.thickness_mm or frame.slice_spacing_mm or 0.0
    distance_mm = stated_mm if stated_mm > 0 else UNKNOWN_THICKNESS_MM
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 3] = column_step, row_step, origin
    affine[:3, 2] = ras_from_lps(axes_of(frame)[2]) * distance_mm
    far_column, far_row = column_step * (frame.columns - 1), row_step * (frame.rows - 1)
    corners = np.stack([origin, origin + far_column, origin + far_row, origin + far_column + far_row])[None]
    if stated_mm > 0:
        sentence = f"one slice: its thickness of {stated_mm:g} mm is taken as the distance of slices"
    else:
        sentence = f"one slice without SliceThickness: {distance_mm:g} mm is put down, so volumes in ml mean nothing"
    notice = Notice(code="single-slice", sentence=sentence, where=frame.name)
    geometry = Geometry(corners_mm=corners, kind="regular", residual_mm=0.0)
    known = stated_mm > 0
    return Layout(frames=(frame,), affine=affine, geometry=geometry, notices=(notice,), spacing_known=known)


def _gapped(geometry: Geometry, frames: Sequence[Frame]) -> UserError:
    multiples, lengths = step_multiples(geometry), np.linalg.norm(steps_mm(geometry), axis=1)
    if multiples is None:
        raise ValueError("a gapped stack has steps that are multiples of the smallest")
    usual_mm = float(np.median(lengths[multiples == 1]))
    holes = [
        f"{lengths[k]:.2f} mm between {frames[k].name} and {frames[k + 1].name} ({multiples[k] - 1} missing)"
        for k in np.flatnonzero(multiples > 1).tolist()
    ]
    what = f"slices are missing: {listed(holes, LISTED)}, elsewhere the spacing is {usual_mm:.2f} mm"
    return Uneven(what, next=f"Send the series again: a gap cannot be filled by guessing. {ACCEPT}")


def _irregular(geometry: Geometry, frames: Sequence[Frame]) -> UserError:
    lengths = np.linalg.norm(steps_mm(geometry), axis=1)
    beside = _one_beside(geometry)
    if beside is not None:
        k, away_mm = beside
        what = f"the slice {frames[k].name} lies {away_mm:.2f} mm from its position in line with the others"
        return UserError(what, next="A stack with a step has no single grid: send the series again.")
    what = f"the slice spacing is irregular: {listed(_runs(lengths, frames), LISTED)}"
    return Uneven(what, next=f"Reconstruct the series with one spacing, or split it. {ACCEPT}")


def _runs(lengths: np.ndarray, frames: Sequence[Frame]) -> list[str]:
    """['4.00 mm from 001.dcm to 018.dcm', '1.08 mm from 018.dcm to 019.dcm', ...]: equal distances in a row together."""
    runs: list[list[int]] = []
    for k, length in enumerate(lengths):
        if runs and abs(length - lengths[runs[-1][0]]) <= regular_tolerance_mm(float(length)):
            runs[-1].append(k)
        else:
            runs.append([k])
    return [f"{lengths[run[0]]:.2f} mm from {frames[run[0]].name} to {frames[run[-1] + 1].name}" for run in runs]


def _one_beside(geometry: Geometry) -> tuple[int, float] | None:
    """The one slice without which all others lie on a grid, and its distance in mm from where it should lie."""
    centres = geometry.corners_mm.mean(axis=1)
    count = len(centres)
    if count < 4:
        return None
    numbers = np.arange(count, dtype=np.float64)
    for k in range(count):
        others = np.delete(numbers, k)
        design = np.stack([np.ones(count - 1), others], axis=1)
        fit, *_ = np.linalg.lstsq(design, np.delete(centres, k, axis=0), rcond=None)
        residual_mm = np.linalg.norm(design @ fit - np.delete(centres, k, axis=0), axis=1).max()
        if residual_mm <= regular_tolerance_mm(float(np.linalg.norm(fit[1]))):
            return k, float(np.linalg.norm(centres[k] - fit[0] - k * fit[1]))
    return None


def _refuse_flat(affine: np.ndarray, frames: Sequence[Frame]) -> None:
    step = affine[:3, 2]
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    cosine = abs(step @ normal) / (np.linalg.norm(step) * np.linalg.norm(normal))
    angle_deg = float(np.degrees(np.arccos(np.clip(cosine, 0, 1))))
    if angle_deg > STEEPEST_DEG:
        what = (
            f"the slices {frames[0].name} and {frames[1].name} lie beside each other ({angle_deg:.0f} degrees off the normal)"
        )
        raise UserError(what, next="These positions are no slice stack.")


def _stated_distance(frames: Sequence[Frame], affine: np.ndarray) -> tuple[Notice, ...]:
    stated_mm, found_mm = frames[0].slice_spacing_mm, float(np.linalg.norm(affine[:3, 2]))
    if stated_mm is None or abs(abs(stated_mm) - found_mm) <= STATED_FRACTION * found_mm:
        return ()
    sentence = f"SpacingBetweenSlices says {stated_mm:g} mm, the positions lie {found_mm:.3f} mm apart: the positions count"
    return (Notice(code="slice-distance-differs", sentence=sentence, where=frames[0].name),)
