"""What makers say in private elements and nowhere else: b-values, mosaics. Knows nothing of frames."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from .elements import get, text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Place = tuple[int, str, int]  # group, private creator, element
B_VALUES: tuple[Place, ...] = (
    (0x0019, "SIEMENS MR HEADER", 0x0C),
    (0x2001, "Philips Imaging DD 001", 0x03),
    (0x0043, "GEMS_PARM_01", 0x39),
    (0x0065, "Image Private Header", 0x09),  # UIH
)
TILES: tuple[Place, ...] = (
    (0x0019, "SIEMENS MR HEADER", 0x0A),
    (0x0065, "Image Private Header", 0x50),  # UIH
)
GE_FLAG = 1e9  # added to the b-value by one maker
BLOCKS = range(0x10, 0x18)  # where creators stand; more than eight in one group do not occur


def b_value(dataset: Dataset) -> float | None:
    """In s/mm², None where no maker's element says it."""
    found = _first_number(dataset, B_VALUES)
    if found is None:
        return None
    return found - GE_FLAG if found >= GE_FLAG else found


def tiles(dataset: Dataset) -> int:
    """How many slices are tiled into this one image; 0 where it is an ordinary one."""
    found = _first_number(dataset, TILES)
    return int(found) if found is not None and found > 1 else 0


def _first_number(dataset: Dataset, places: tuple[Place, ...]) -> float | None:
    for group, creator, element in places:
        for block in BLOCKS:
            if (group, block) in dataset and text(dataset, (group, block)) == creator:
                number = _number(get(dataset, (group, block << 8 | element)))
                if number is not None:
                    return number
    return None


def _number(value: object) -> float | None:
    """The first number of a value; where its VR is unknown, it still is the bytes of a text, a float or a double."""
    if isinstance(value, bytes):
        return _of_bytes(value)
    if hasattr(value, "__iter__") and not isinstance(value, str):
        value = next(iter(value), None)  # type: ignore[call-overload]
    try:
        return _finite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _of_bytes(value: bytes) -> float | None:
    try:
        return _finite(float(value.split(b"\\")[0].strip(b" \0")))
    except ValueError:
        form = {4: "<f", 8: "<d"}.get(len(value))
        return _finite(struct.unpack(form, value)[0]) if form else None


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
