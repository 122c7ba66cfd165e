"""Sizes of memory as they are typed."""

from __future__ import annotations

from ..errors import UserError

UNITS = {"M": 10**6, "G": 10**9, "T": 10**12}


def bytes_of(text: str | None) -> int | None:
    """'8G', '500M' → bytes; G is 10^9. None where nothing was typed. Raises: UserError."""
    if text is None:
        return None
    number, unit = text[:-1], text[-1:].upper()
    try:
        size = int(float(number) * UNITS[unit])
    except (KeyError, ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise UserError(f"'{text}' is not a size of memory", where="--max-ram", next="Examples: 8G, 500M.")
    return size
