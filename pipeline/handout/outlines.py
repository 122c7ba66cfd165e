"""Trace the outlines of a mask along the edges of its pixels. Knows nothing of files or millimetres.

Along the edges, not through the centres (the outline would lose half a pixel on every side) and not halfway between centres as
marching squares does (a single pixel would become a diamond of half its area): what a treatment planning system computes from
such an outline has exactly the area of the mask, and every way of filling it gives the mask back.

A hole is joined to its surroundings by a slit without width ("keyhole", PS3.3 C.8.8.6.3): for CLOSED_PLANAR the standard knows
no other way, and its second one (CLOSEDPLANAR_XOR) is younger than many readers. Then an outline never lies inside another, and
readers that unite outlines, that fill by odd and even, and that subtract inner ones all see the hole. Slits run along pixel
edges, so no pixel's centre lies on one.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

EIGHT = np.ones((3, 3), dtype=bool)
STEPS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])  # (row, column) of the directions right, down, left, up
TURNS = (1, 0, 3, 2)  # right first: the inside lies on the right, and pixels that touch at a corner stay apart


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """The outlines of a mask, one for each piece whose pixels share edges.

    Args:
        mask: bool (rows, columns).
    Returns: (points, 2) each: column and row in pixels, whole numbers and a half; pixel centres are whole. Closed by
        themselves, clockwise on a screen, without points in the middle of straight lines.
    """
    return _outlines(mask, slits=True)


def borders(mask: np.ndarray) -> list[np.ndarray]:
    """As `outlines`, for the eye: without slits. A hole has a border of its own, anticlockwise on a screen."""
    return _outlines(mask, slits=False)


def _outlines(mask: np.ndarray, *, slits: bool) -> list[np.ndarray]:
    if not mask.any():
        return []
    rows_in, columns_in = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask[rows_in[0] : rows_in[-1] + 1, columns_in[0] : columns_in[-1] + 1]
    edges = _edges(box)
    for row, column in _hole_corners(box) if slits else ():
        _slit(edges, row, column)
    first = np.array((columns_in[0], rows_in[0])) - 0.5
    return [points + first for points in _loops(edges)]


def _loops(edges: np.ndarray) -> list[np.ndarray]:
    """(points, 2) each: column and row of the corners where a border turns."""
    following = _following(edges)
    directions = edges.shape[2]
    found: list[np.ndarray] = []
    left = dict.fromkeys(np.flatnonzero(edges).tolist())
    while left:
        first = edge = next(iter(left))
        corners: list[int] = []
        while edge in left:
            del left[edge]
            after = following[edge]
            if after % directions != edge % directions:
                corners.append(after)
            edge = after
        if edge != first:
            raise ValueError("an outline does not come back to its first point")
        rows, columns = np.divmod(np.array(corners) // directions, edges.shape[1])
        found.append(np.stack([columns, rows], axis=1))
    return found


def _edges(mask: np.ndarray) -> np.ndarray:
    """Bool (rows + 1, columns + 1, 4): whether a border leaves a corner in a direction, with the inside on its right."""
    rows, columns = mask.shape
    wide = np.pad(mask, 1)
    edges = np.zeros((rows + 1, columns + 1, 4), dtype=bool)
    edges[:-1, :-1, 0] = mask & ~wide[:-2, 1:-1]  # along the upper edge
    edges[:-1, 1:, 1] = mask & ~wide[1:-1, 2:]
    edges[1:, 1:, 2] = mask & ~wide[2:, 1:-1]
    edges[1:, :-1, 3] = mask & ~wide[1:-1, :-2]
    return edges


def _hole_corners(mask: np.ndarray) -> list[tuple[int, int]]:
    """For each hole the upper left corner (row, column) of one of its leftmost pixels: what lies left of it is inside."""
    holes, _ = ndimage.label(~np.pad(mask, 1), EIGHT)
    corners = []
    for number, box in enumerate(ndimage.find_objects(holes), start=1):
        if number == holes[0, 0]:
            continue  # what surrounds everything
        column = box[1].start
        row = box[0].start + int(np.argmax(holes[box[0], column] == number))
        corners.append((row - 1, column - 1))
    return corners


def _slit(edges: np.ndarray, row: int, column: int) -> None:
    """Two borders in opposite directions from a hole to the next border on its left."""
    while True:
        edges[row, column, 2] = edges[row, column - 1, 0] = True
        column -= 1
        if np.count_nonzero(edges[row, column]) > 1:  # more than the slit's own
            return


def _following(edges: np.ndarray) -> dict[int, int]:
    """The border that continues each border, by flat index."""
    rows, columns, directions = np.nonzero(edges)
    ends = np.stack([rows, columns], axis=1) + STEPS[directions]
    after = np.full(len(rows), -1)
    for turn in reversed(TURNS):  # the first that exists counts: it is written last
        turned = (directions + turn) % 4
        there = edges[ends[:, 0], ends[:, 1], turned]
        index = np.ravel_multi_index((ends[:, 0], ends[:, 1], turned), edges.shape)
        after = np.where(there, index, after)
    starts = np.ravel_multi_index((rows, columns, directions), edges.shape)
    return dict(zip(starts.tolist(), after.tolist(), strict=True))
