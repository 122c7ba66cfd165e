"""What a header says of its stored values beyond their number of bits: padding, and elements that cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .elements import get, integer, number, unreadable

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LARGEST_SCALE = 1e30  # of slope and intercept: the product with any stored value is still a 32-bit float
# numbers of the image without which its values are not known, where the header has them
OF_VALUES = ("BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel", "NumberOfFrames", "PixelPaddingValue")
SCALE = ("RescaleSlope", "RescaleIntercept")


def unreadable_values(dataset: Dataset) -> tuple[str, ...]:
    """What decides on the values, is there and cannot be read: taking it for absent would change them without a word."""
    found = [keyword for keyword in (*OF_VALUES, *SCALE) if unreadable(dataset, keyword)]
    if not has_float_pixels(dataset):
        signs = {"BitsStored": integer(dataset, "BitsStored", -1) != -1}
        signs["PixelRepresentation"] = integer(dataset, "PixelRepresentation", -1) in (0, 1)
        found += [keyword for keyword, usable in signs.items() if not usable and keyword not in found]
    found += [keyword for keyword in SCALE if keyword not in found and abs(number(dataset, keyword) or 0.0) > LARGEST_SCALE]
    return (*found, *(k for k in ("ModalityLUTSequence",) if unreadable(dataset, k, sequence=True)))


def has_float_pixels(dataset: Dataset) -> bool:
    """Whether the header is that of float or double pixels: they have no stored bits and no sign (PS3.3 C.7.6.24)."""
    return integer(dataset, "BitsAllocated") in (32, 64) and get(dataset, "BitsStored") is None


def unreadable_scale(group: Dataset, shared: Dataset | None, scale: Dataset | None, *, outside: bool) -> tuple[str, ...]:
    """The same for one frame of a multi-frame object.

    Args:
        group, shared: functional groups of the frame and of all frames.
        scale: the item with its slope and intercept, None where there is none.
        outside: whether the object has a slope or intercept outside of its groups, where none belongs.
    """
    sequence = "PixelValueTransformationSequence"
    if unreadable(group, sequence, sequence=True) or unreadable(shared, sequence, sequence=True):
        return (sequence,)
    if scale is None:
        return (f"{sequence} (a rescale stands outside of it)",) if outside else ()
    return tuple(k for k in SCALE if unreadable(scale, k) or abs(number(scale, k) or 0.0) > LARGEST_SCALE)


def padding_of(dataset: Dataset, signed: bool) -> tuple[float, float] | None:
    """Stored values without data, from and to; one maker writes negative ones of signed pixels as unsigned numbers."""
    value, limit = number(dataset, "PixelPaddingValue"), number(dataset, "PixelPaddingRangeLimit")
    if value is None:
        return None
    ends = [value, value if limit is None else limit]
    if signed and integer(dataset, "BitsAllocated") == 16:
        ends = [end - 2**16 if 2**15 <= end < 2**16 else end for end in ends]
    return min(ends), max(ends)
