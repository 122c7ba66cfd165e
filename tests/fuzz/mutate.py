"""Damage a DICOM file, always in the same way for the same seed."""

from __future__ import annotations

import io
import random
import struct
import warnings
from collections.abc import Callable
from functools import lru_cache

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

INTERESTING = (0, 1, 7, 0x7FFF, 0x8000, 0xFFFF, 0xFFFE, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, 0x10000000)
VRS = b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV ZZ \0\0".split()
SYNTAXES = [f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2", ".5", ".4.50", ".4.51", ".4.57", ".4.70")]
SYNTAXES += [f"1.2.840.10008.1.2.4.{end}" for end in ("80", "81", "90", "91", "201", "202", "203", "100")]
NUMBERS = ("", "abc", "0", "-1", "1e300", "-1e300", "nan", "inf", "1\\2", "1e-300", "1,5", "99999999999999999", "0.5", "3")
# what is set to something absurd: keyword → values, as text for DS and IS, else numbers
ABSURD: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(
        ("RescaleSlope", "RescaleIntercept", "SliceThickness", "SpacingBetweenSlices", "InstanceNumber", "NumberOfFrames"),
        NUMBERS,
    ),
    **dict.fromkeys(("EchoTime", "TriggerTime", "SeriesNumber", "KVP", "AcquisitionNumber", "MaximumFractionalValue"), NUMBERS),
    **dict.fromkeys(
        ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"),
        (0, 1, 2, 7, 8, 9, 12, 15, 16, 17, 32, 33, 64, 255, 256, 32767, 65535),
    ),
    "PixelSpacing": ("0\\0", "-1\\1", "1", "1\\2\\3", "1e-30\\1", "nan\\1", "abc\\1", "1e300\\1", "0.75\\0.5", "5\\0.1"),
    "ImagePositionPatient": ("0\\0", "1e300\\0\\0", "a\\b\\c", "0\\0\\nan", "1\\2\\3\\4", "-10.5\\20.25\\5", "1e6\\1e6\\1e6"),
    "ImageOrientationPatient": (
        "1\\0\\0\\0\\1",
        "0\\0\\0\\0\\0\\0",
        "1\\0\\0\\1\\0\\0",
        "2\\0\\0\\0\\2\\0",
        "nan\\0\\0\\0\\1\\0",
    ),
    "PhotometricInterpretation": ("MONOCHROME1", "RGB", "", "YBR_FULL", "PALETTE COLOR", "monochrome2"),
    "ImageType": ("", "ORIGINAL\\PRIMARY\\LOCALIZER", "\\\\\\", "ORIGINAL\\PRIMARY\\P", "MOSAIC"),
    "SeriesInstanceUID": ("", "x", "1.2.3"),
    "SpecificCharacterSet": ("ISO_IR 192", "ISO 2022 IR 87", "nonsense", "\\ISO 2022 IR 149"),
    "Modality": ("", "CT", "MR", "PT", "US", "OT"),
    "SegmentationType": ("BINARY", "FRACTIONAL", "LABELMAP", ""),
    "PixelPaddingValue": (0, 1, 2000, 65535),
}


def mutated(data: bytes, number: int) -> bytes:
    """One to three damages, drawn by the number."""
    rng = random.Random(number)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(WAYS)(data, rng)
    return data


# --- bytes ---


def _place(data: bytes, rng: random.Random) -> int:
    """Mostly in the header."""
    most = max(len(data) - 1, 1)
    return rng.randrange(min(most, 2000)) if rng.random() < 0.7 else rng.randrange(most)


def _flip(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 30))):
        at = _place(data, rng)
        out[at : at + 1] = bytes([out[at] ^ (1 << rng.randrange(8))]) if out else b""
    return bytes(out)


def _replace(data: bytes, rng: random.Random) -> bytes:
    at, width = _place(data, rng), rng.choice((1, 2, 4))
    value = rng.choice(INTERESTING) & (2 ** (8 * width) - 1)
    return data[:at] + value.to_bytes(width, "little") + data[at + width :]


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: _place(data, rng)]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.randbytes(rng.choice((1, 2, 4, 8, 100))) + data[at:]


def _remove(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 4, 8, 100, 1000)) :]


def _copy(data: bytes, rng: random.Random) -> bytes:
    source, target, size = _place(data, rng), _place(data, rng), rng.choice((2, 8, 40, 300))
    return data[:target] + data[source : source + size] + data[target:]


# --- elements ---


@lru_cache(maxsize=64)
def _elements(data: bytes) -> tuple[tuple[int, int, int], ...]:
    """(begin, begin of value, end) of the top-level elements as far as they can be found."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    except Exception:
        return ()
    if dataset.file_meta.get("TransferSyntaxUID") == "1.2.840.10008.1.2.1.99":
        return ()
    found = []
    for tag in dataset.keys():  # noqa: SIM118 (going through the data set itself converts every value)
        try:
            raw = dataset.get_item(tag)
        except Exception:  # an empty value of an unknown VR
            continue
        value_at, length = getattr(raw, "value_tell", None), getattr(raw, "length", None)
        if value_at and length is not None and length < len(data):
            head = 12 if getattr(raw, "VR", None) in ("OB", "OW", "SQ", "UN", "UT", "OF", "UC") else 8
            found.append((value_at - head, value_at, value_at + length))
    return tuple(found)


def _of_element(change: Callable[[bytes, bytes, random.Random], bytes]) -> Callable[[bytes, random.Random], bytes]:
    """A damage of one element: the bytes of its head and of its value in, what stands there instead out."""

    def damage(data: bytes, rng: random.Random) -> bytes:
        elements = _elements(data)
        if not elements:
            return _flip(data, rng)
        begin, value, end = rng.choice(elements)
        return data[:begin] + change(data[begin:value], data[value:end], rng) + data[end:]

    return damage


def _other_vr(head: bytes, value: bytes, rng: random.Random) -> bytes:
    return head[:4] + rng.choice(VRS).ljust(2, b"\0")[:2] + head[6:] + value


def _other_length(head: bytes, value: bytes, rng: random.Random) -> bytes:
    width = rng.choice((2, 4))
    length = rng.choice((*INTERESTING, len(value) + 1, max(len(value) - 1, 0), len(value) + 2)) & (2 ** (8 * width) - 1)
    return head[:-width] + length.to_bytes(width, "little") + value


def _other_tag(head: bytes, value: bytes, rng: random.Random) -> bytes:
    return (
        struct.pack("<HH", rng.choice((0x0020, 0x0028, 0x7FE0, 0xFFFE, 0x0009)), rng.choice((0x10, 0x32, 0x37, 0xE000)))
        + head[4:]
        + value
    )


def _other_value(head: bytes, value: bytes, rng: random.Random) -> bytes:
    if not value:
        return head + value
    other = rng.choice((b"\0", b"\xff", b"9", b"-", b"\\", b"e", rng.randbytes(1))) * len(value)
    return head + (other if rng.random() < 0.5 else rng.randbytes(len(value)))


def _twice(head: bytes, value: bytes, rng: random.Random) -> bytes:
    return (head + value) * 2


def _gone(head: bytes, value: bytes, rng: random.Random) -> bytes:
    return b""


def _nested(head: bytes, value: bytes, rng: random.Random) -> bytes:
    """An endless sequence in a sequence in a sequence before the element."""
    deep = rng.choice((3, 50, 2000))
    explicit = b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    implicit = b"\x40\x00\x30\xa7\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * rng.choice((deep, deep - 1, 0))
    return rng.choice((explicit, implicit)) * deep + closed + head + value


def _swapped(data: bytes, rng: random.Random) -> bytes:
    elements = _elements(data)
    if len(elements) < 2:
        return _flip(data, rng)
    (a, _, b), (c, _, d) = sorted(rng.sample(elements, 2))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


# --- attributes ---


def _absurd(data: bytes, rng: random.Random) -> bytes:
    """One attribute, at the top or in a functional group, with an absurd value or of another transfer syntax."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(data))
            if rng.random() < 0.15:
                return _other_syntax(data, str(dataset.file_meta.TransferSyntaxUID), rng)
            places = [place for place in _inside(dataset) if any(k in place for k in ABSURD)]
            place = rng.choice(places)
            keyword = rng.choice([k for k in ABSURD if k in place])
            element = place[pydicom.datadict.tag_for_keyword(keyword)]
            if rng.random() < 0.15:
                del place[element.tag]
            else:
                _set(place, element.tag, element.VR, rng.choice(ABSURD[keyword]))
            out = io.BytesIO()
            dataset.save_as(out, enforce_file_format=True)
            return out.getvalue()
    except Exception:  # damaged before, or pydicom does not write such a thing
        return _flip(data, rng)


def _set(place: Dataset, tag: int, vr: str, value: object) -> None:
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    if isinstance(value, int):
        coded = struct.pack("<H", value)
    else:
        coded = str(value).encode()
        coded += b" " * (len(coded) % 2)
    place._dict[Tag(tag)] = RawDataElement(Tag(tag), vr, len(coded), coded, 0, False, True)


def _inside(dataset: Dataset) -> list[Dataset]:
    """The data set and the items of its sequences, to the third level."""
    found = level = [dataset]
    for _ in range(3):
        level = [item for part in level for element in part if isinstance(element.value, Sequence) for item in element.value]
        found = [*found, *level]
    return found


def _other_syntax(data: bytes, syntax: str, rng: random.Random) -> bytes:
    at = data.find(syntax.encode(), 132, 500)
    width = len(syntax) + len(syntax) % 2
    other = rng.choice([s for s in SYNTAXES if len(s) <= width]).encode().ljust(width, b"\0")
    return data[:at] + other + data[at + width :]


WAYS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip,
    _flip,
    _replace,
    _truncate,
    _insert,
    _remove,
    _copy,
    _swapped,
    *map(_of_element, (_other_vr, _other_length, _other_tag, _other_value, _twice, _gone, _nested)),
    _absurd,
    _absurd,
    _absurd,
)
