"""Count the connected pieces of a mask slab by slab: no second volume of numbers is needed. Knows no structures."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..data.postprocess import pieces


def count_pieces(slabs: Iterable[np.ndarray]) -> tuple[int, int]:
    """How many pieces there are and how many voxels the largest has; touching is what post-processing takes for it.

    Args:
        slabs: bool, consecutive parts of one mask along its first axis.
    """
    sizes: list[int] = []  # of each piece of a slab
    parent: list[int] = []  # a piece of an earlier slab that it touches, or itself
    above: np.ndarray | None = None  # the last plane of the slab before, numbered from 1; 0 outside
    for slab in slabs:
        numbers, voxels = pieces(slab)
        before = len(sizes)
        sizes += voxels.tolist()
        parent += range(before, len(sizes))
        if above is not None:
            for one, other in _touching(above, _numbered(numbers[0], before)):
                first, second = sorted((_root(parent, one), _root(parent, other)))
                parent[second] = first
        above = _numbered(numbers[-1], before)
    totals: dict[int, int] = {}
    for piece, size in enumerate(sizes):
        root = _root(parent, piece)
        totals[root] = totals.get(root, 0) + size
    return len(totals), max(totals.values(), default=0)


def _numbered(plane: np.ndarray, before: int) -> np.ndarray:
    return np.where(plane > 0, plane.astype(np.int64) + before, 0)


def _touching(above: np.ndarray, below: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of pieces, counted from 0, of which a pixel lies over or beside the other's."""
    wide = np.pad(above, 1)
    rows, columns = below.shape
    pairs: set[tuple[int, int]] = set()
    for row in range(3):
        for column in range(3):
            beside = wide[row : row + rows, column : column + columns]
            both = (beside > 0) & (below > 0)
            pairs.update(map(tuple, np.unique(np.stack([beside[both], below[both]], axis=1), axis=0).tolist()))
    return [(one - 1, other - 1) for one, other in sorted(pairs)]


def _root(parent: list[int], piece: int) -> int:
    while parent[piece] != piece:
        parent[piece] = piece = parent[parent[piece]]
    return piece
