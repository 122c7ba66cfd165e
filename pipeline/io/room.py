"""Refuse a volume that is larger than the memory left for it, before any of that is taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError


def refuse_without_room(shape: Sequence[int], itemsize: int, most_bytes: int | None, *, where: Path | str) -> None:
    """Raises: UserError with both figures.

    Args:
        shape, itemsize: of the array that would be made; bytes a value.
        most_bytes: None: as many as there are.
    """
    needed = math.prod(shape) * itemsize
    if most_bytes is not None and needed > most_bytes:
        left = f"{max(most_bytes, 0) / 1e9:.2f} GB are left for them"
        what = f"{' x '.join(map(str, shape))} voxels need {needed / 1e9:.2f} GB, {left}"
        raise UserError(what, where=where, next="Give more with --max-ram, where the machine has it.")
