"""Take numbers and texts out of a DICOM data set that may be damaged. Knows nothing of what they mean."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .quiet import quiet

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag


NUMERIC = ("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV")  # Value Representations of numbers


PIXEL_GROUP = 0x7FE0


class Damaged(Exception):
    """A file that starts as DICOM and cannot be read on."""


def read_header(stream: IO[bytes], *, force: bool = False) -> Dataset:
    """Everything before the pixels, where the stream then stands (unless it is deflated).

    Raises: Damaged with a short reason, for whatever is wrong with the file.
    """
    return _read(stream, force=force, stop_before_pixels=True)


def read_whole(path: Path) -> Dataset:
    """The whole object. Raises: Damaged with a short reason, for whatever is wrong with the file."""
    with path.open("rb") as stream:
        return _read(stream, force=True, stop_before_pixels=False)


def _read(stream: IO[bytes], *, force: bool, stop_before_pixels: bool) -> Dataset:
    from pydicom import dcmread

    try:
        with quiet():
            return dcmread(stream, force=force, stop_before_pixels=stop_before_pixels)
    except MemoryError as error:
        raise Damaged("an element claims more than the memory holds") from error
    except Exception as error:  # a damaged file makes the parser raise whatever it meets: struct, zlib, key, recursion, ...
        raise Damaged(f"{type(error).__name__} while reading") from error


def any_behind_pixels(dataset: Dataset) -> bool:
    """Whether in the file an element stood behind the pixels that belongs before them (PS3.5 7.1: tags rise)."""
    tags = [int(tag) for tag in dataset.keys()]  # noqa: SIM118 (going through the data set itself converts every value)
    pixels = next((k for k, tag in enumerate(tags) if tag >> 16 == PIXEL_GROUP), len(tags))
    return any(tag < tags[pixels] for tag in tags[pixels + 1 :])


def get(dataset: Dataset, keyword: str | tuple[int, int]) -> object:
    """The value by keyword or (group, element); None where it is absent, empty or cannot be turned into its type."""
    try:
        tag = _tag(keyword)
        if tag not in dataset:
            return None
        with quiet():
            value: object = dataset[tag].value
    except Exception:  # wrong VR, impossible number, unknown character set: as good as absent
        return None
    return None if value is None or value == "" else value


@cache
def _tag(keyword: str | tuple[int, int]) -> BaseTag:
    """The keyword's tag; pydicom's own way by attribute takes three times as long, and there are 50 values a file."""
    from pydicom.datadict import tag_for_keyword
    from pydicom.tag import Tag

    return Tag((tag_for_keyword(keyword) if isinstance(keyword, str) else None) or keyword)


def unreadable(dataset: Dataset | None, keyword: str, *, sequence: bool = False) -> bool:
    """Whether the element is there, is not empty, and still is not one finite number (or a sequence of items)."""
    if dataset is None or _tag(keyword) not in dataset:
        return False
    if _empty(dataset, keyword):  # asked first: reading a value replaces its bytes
        return False
    if sequence:
        return not items(dataset, keyword)
    # in an element of another kind, a tag for one, digits are found that nobody wrote
    return numbers(dataset, keyword, 1) is None or dataset[_tag(keyword)].VR not in NUMERIC


def _empty(dataset: Dataset, keyword: str) -> bool:
    try:
        raw = getattr(dataset.get_item(_tag(keyword)), "value", None)
    except Exception:  # pydicom converts what has no bytes at all, and does not know its VR
        return True
    if isinstance(raw, bytes):
        return not raw.strip(b" ")
    from pydicom.sequence import Sequence

    return raw is None or (isinstance(raw, str | Sequence) and len(raw) == 0)


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly `count` finite numbers, or None."""
    value = get(dataset, keyword)
    if isinstance(value, bytes):  # its VR is wrong: its bytes are no numbers
        return None
    try:
        found = tuple(float(v) for v in (value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]))  # type: ignore[arg-type, attr-defined]
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def number(dataset: Dataset, keyword: str) -> float | None:
    """One finite number (the first where there are several), or None."""
    value = get(dataset, keyword)
    if hasattr(value, "__iter__") and not isinstance(value, str):
        value = None if isinstance(value, bytes) else next(iter(value), None)  # type: ignore[call-overload]
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def integer(dataset: Dataset, keyword: str, absent: int = 0) -> int:
    found = number(dataset, keyword)
    return absent if found is None else int(found)


def text(dataset: Dataset, keyword: str | tuple[int, int]) -> str:
    """The text without blanks around it; '' where it is absent. Characters that cannot be decoded are replaced."""
    value = get(dataset, keyword)
    return "" if value is None or _is_sequence(value) else str(value).strip().strip("\0")


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    value = get(dataset, keyword)
    if value is None or isinstance(value, bytes) or _is_sequence(value):
        return ()
    if isinstance(value, str) or not hasattr(value, "__iter__"):  # a number where the VR is wrong
        return (str(value),)
    return tuple(str(v) for v in value)


def _is_sequence(value: object) -> bool:
    """Items where a text should stand: damaged, and not even sure to be printable."""
    from pydicom.sequence import Sequence

    return isinstance(value, Sequence)


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence, none where it is absent or damaged."""
    value = get(dataset, keyword)
    return list(value) if _is_sequence(value) else []  # type: ignore[call-overload]
