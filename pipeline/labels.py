"""The label table: value, name, colour, SNOMED CT code of each structure. One table feeds every output; it knows no files."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .codes import UNCODED, Code, category_of, code_of
from .errors import UserError

LONGEST_NAME = 64  # characters: DICOM's limit (VR LO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """One structure of a label table."""

    value: int  # what stands in mask files, 0 to 255; for overlapping structures the 1-based channel
    name: str
    colour: tuple[int, int, int]  # RGB, 0 to 255
    code: Code | None = None

    @property
    def concept(self) -> Code:
        """What is written where DICOM wants a code: the structure's own, or Tissue."""
        return self.code or UNCODED


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTable:
    """Which structures a mask holds.

    The network's class index of a structure is its position here plus one (softmax), its channel the position (sigmoid);
    `value` is what is written to and read from mask files, so a mask with 0 and 255 needs no rewriting.
    """

    structures: tuple[Structure, ...]
    background: int = 0  # the value of "none of them"
    overlapping: bool = False  # True: multi-label, one channel a structure, a voxel may belong to several

    def __post_init__(self) -> None:
        if not self.structures:
            raise UserError("the label table names no structure", next="Name them with --labels NAME=VALUE,...")
        _refuse_doubles([s.name for s in self.structures], "name")
        _refuse_doubles([s.value for s in self.structures], "value")
        for structure in self.structures:
            if not structure.name.strip():
                raise UserError(f"the structure with value {structure.value} has an empty name")
            _refuse_unwritable(structure.name)
            if not 0 <= structure.value <= 255:
                raise UserError(f"label value {structure.value} of {structure.name} is outside 0 to 255")
            if structure.value == self.background and not self.overlapping:
                raise UserError(
                    f"{structure.name} has the value {structure.value}, which is the background's",
                    next="Give the background another value: --labels background=VALUE,NAME=VALUE,...",
                )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.structures)

    @property
    def values(self) -> tuple[int, ...]:
        return tuple(s.value for s in self.structures)

    @property
    def outside(self) -> int:
        """What a voxel of no structure holds: the background's value, or 0 where each structure has a channel of 0 and 1."""
        return 0 if self.overlapping else self.background

    @property
    def binary(self) -> bool:
        return len(self.structures) == 1

    def to_json(self) -> dict[str, object]:
        """Plain types only, the inverse of `label_table_from_json`."""
        return {
            "background": self.background,
            "overlapping": self.overlapping,
            "structures": [
                {
                    "value": s.value,
                    "name": s.name,
                    "colour": list(s.colour),
                    "code": _code_to_json(s.code) if s.code else None,
                }
                for s in self.structures
            ],
        }


def label_table_from_json(data: Mapping[str, object], *, where: str) -> LabelTable:
    """The inverse of `LabelTable.to_json`. Raises: UserError that names `where` and the missing or wrong key."""
    try:
        structures = []
        for entry in data["structures"]:  # type: ignore[attr-defined]
            code = entry.get("code")
            structures.append(
                Structure(
                    value=int(entry["value"]),
                    name=str(entry["name"]),
                    colour=tuple(int(c) for c in entry["colour"]),  # type: ignore[arg-type]
                    code=_code_from_json(code) if code else None,
                )
            )
        return LabelTable(
            structures=tuple(structures),
            background=int(data.get("background", 0)),  # type: ignore[call-overload]
            overlapping=bool(data.get("overlapping", False)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"the label table cannot be read: {error!r}", where=where) from error


def label_table(names: Mapping[str, int], *, overlapping: bool = False) -> LabelTable:
    """A table from names and values, in the order of the values; the name "background" sets the background's value.

    Colours are spread over the hue circle; codes come from the built-in table of common structures, by name.
    """
    background = 0
    pairs = []
    for name, value in names.items():
        if name.strip().lower() == "background":
            background = value
        else:
            pairs.append((value, name))
    structures = tuple(
        Structure(value=value, name=name, colour=colour_of(position), code=code_of(name))
        for position, (value, name) in enumerate(sorted(pairs))
    )
    return LabelTable(structures=structures, background=background, overlapping=overlapping)


def colour_of(position: int) -> tuple[int, int, int]:
    """A strong colour for the structure at this position; neighbours in the table differ clearly (golden-ratio hues)."""
    hue = (0.99 + position * 0.618034) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85 if position % 2 == 0 else 0.65, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def parse_labels(text: str) -> dict[str, int]:
    """'tumour=1,edema=2' → {"tumour": 1, "edema": 2}. Raises: UserError that names the part that is not NAME=VALUE."""
    names: dict[str, int] = {}
    for part in text.split(","):
        name, separator, value = part.rpartition("=")
        if not separator or not name.strip() or not value.strip().lstrip("-").isdigit():
            raise UserError(f"'{part}' is not NAME=VALUE", where="--labels", next="Example: --labels liver=1,tumour=2")
        if name.strip() in names:
            raise UserError(f"{name.strip()} is named twice", where="--labels")
        names[name.strip()] = int(value)
    return names


def _code_to_json(code: Code) -> dict[str, object]:
    return {
        "scheme": code.scheme,
        "value": code.value,
        "meaning": code.meaning,
        "category": code.category,
        "modifiers": list(code.modifiers),
    }


def _code_from_json(data: Mapping[str, Any]) -> Code:
    """Tables from before categories were written hold scheme, value and meaning alone."""
    value = str(data["value"])
    return Code(
        value=value,
        meaning=str(data["meaning"]),
        scheme=str(data.get("scheme", "SCT")),
        category=str(data.get("category") or category_of(value)),
        modifiers=tuple(data.get("modifiers", ())),
    )


def _refuse_unwritable(name: str) -> None:
    """Raises: UserError for a name that DICOM cannot hold: it would be another one in a SEG than in the sidecar."""
    if len(name) > LONGEST_NAME:
        raise UserError(f"the name '{name}' has {len(name)} characters, DICOM allows {LONGEST_NAME}", next="Shorten it.")
    if "\\" in name or not name.isprintable() or name != name.strip():
        what = f"the name {name!r} has a backslash, a control character, or blanks at its ends"
        raise UserError(what, next="DICOM allows none of these: rename the structure.")


def _refuse_doubles(items: Sequence[object], what: str) -> None:
    for item in items:
        if items.count(item) > 1:
            raise UserError(f"two structures have the {what} {item}", next="Every structure needs its own.")
