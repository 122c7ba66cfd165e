"""Judge the keys and types of a manifest file: all problems at once. Knows nothing of the files it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest, sentences
from ..labels import LabelTable, label_table_from_json

KEYS = frozenset({"name", "data_root", "modality", "labels", "label_table", "numTraining", "training", "structures"})
DECATHLON_KEYS = frozenset(  # harmless companions that other programs put into a datalist
    {"description", "reference", "licence", "license", "release", "tensorImageSize", "numTest", "test", "validation"}
)
NEEDED = ("name", "data_root", "label_table", "training")
CASE_KEYS = frozenset(
    {"image", "label", "case", "patient_id", "fold", "sha256", "spacing", "shape", "modality"}
    | {"spacing_known", "pixel_size_mm", "series", "volume"}
)
NEEDED_OF_A_CASE = ("image", "label", "case", "patient_id", "fold", "shape", "spacing")
SHOWN = 20  # problems in one message; a wrong key in 1000 cases need not be read 1000 times


class Gate:
    """Takes a manifest's JSON apart and gathers what is wrong in `problems`; each method gives a usable default instead."""

    def __init__(self, data: object, *, where: Path) -> None:
        self.where = where
        self.problems: list[str] = []
        if not isinstance(data, dict):
            raise UserError(
                "is no manifest: the file must hold one JSON object", where=where, next="'unet manifest' writes one."
            )
        self.data: Mapping[str, object] = data
        self._keys(data, KEYS | DECATHLON_KEYS, NEEDED, "")

    def raise_problems(self) -> None:
        """Raises: UserError with every problem found so far."""
        if self.problems:
            what = sentences(self.problems, SHOWN)
            raise UserError(what, where=self.where, next="docs/data.md lists the keys; 'unet manifest' writes them.")

    def text(self, key: str) -> str:
        """A top-level text."""
        return self._text(self.data.get(key, ""), key)

    def table(self) -> LabelTable:
        """The label table; the whole file is refused without one, since nothing else makes sense then."""
        raw = self.data.get("label_table")
        if not isinstance(raw, dict):
            self.problems = [p for p in self.problems if "label_table" not in p]
            self.problems.insert(0, "label_table is missing: this is a datalist, not a manifest")
            self.raise_problems()
            raise AssertionError("unreachable")
        return label_table_from_json(raw, where=str(self.where))

    def structures(self, table: LabelTable) -> dict[str, int]:
        """Patterns of RTSTRUCT and SEG names → values of the table."""
        raw = self.data.get("structures", {})
        if not isinstance(raw, dict):
            self.problems.append("structures must be {NAME PATTERN: VALUE}")
            return {}
        good: dict[str, int] = {}
        for pattern, value in raw.items():
            if isinstance(value, bool) or not isinstance(value, int) or value not in table.values:
                self.problems.append(f"structures: {pattern} has the value {value!r}, which the label table does not hold")
            else:
                good[pattern] = value
        return good

    def cases(self) -> Iterator[dict[str, Any]]:
        """The arguments of `Case`, one dictionary a case that can be made at all."""
        raw = self.data.get("training", [])
        if not isinstance(raw, list) or not raw:
            self.problems.append("training must be a list of at least one case")
            return
        for number, entry in enumerate(raw):
            name = f"training[{number}]"
            if not isinstance(entry, dict):
                self.problems.append(f"{name} must be an object with the keys image, label, ...")
                continue
            name = f"{name} ({entry['case']})" if isinstance(entry.get("case"), str) else name
            before = len(self.problems)
            self._keys(entry, CASE_KEYS, NEEDED_OF_A_CASE, f"{name}: ")
            arguments = self._case(entry, f"{name}: ")
            if len(self.problems) == before:
                yield arguments

    def _case(self, entry: Mapping[str, object], name: str) -> dict[str, Any]:
        digests = entry.get("sha256", {})
        if not isinstance(digests, dict):
            self.problems.append(f"{name}sha256 must be {{image: ..., label: ...}}")
            digests = {}
        known = entry.get("spacing_known", True)
        if not isinstance(known, bool):
            self.problems.append(f"{name}spacing_known must be true or false, is {known!r}")
        return {
            "case": self._text(entry.get("case", ""), f"{name}case"),
            "image": self._texts(entry.get("image", []), f"{name}image"),
            "label": self._texts(entry.get("label", []), f"{name}label"),
            "patient_id": self._text(entry.get("patient_id", ""), f"{name}patient_id"),
            "fold": self._whole(entry.get("fold", 0), f"{name}fold"),
            "image_sha256": self._texts(digests.get("image", []), f"{name}sha256 of the image"),
            "label_sha256": self._texts(digests.get("label", []), f"{name}sha256 of the label"),
            "shape": tuple(self._whole(n, f"{name}shape") for n in self._list(entry.get("shape", []), f"{name}shape")),
            "spacing_mm": tuple(
                self._number(n, f"{name}spacing") for n in self._list(entry.get("spacing", []), f"{name}spacing")
            ),
            "spacing_known": known,
            "modality": self._text(entry.get("modality", ""), f"{name}modality"),
            "pixel_size_mm": None
            if (size := entry.get("pixel_size_mm")) is None
            else self._number(size, f"{name}pixel_size_mm"),
            "series": self._text(entry.get("series", ""), f"{name}series"),
            "volume": self._text(entry.get("volume", ""), f"{name}volume"),
        }

    def _keys(self, data: Mapping[str, object], known: frozenset[str], needed: tuple[str, ...], name: str) -> None:
        self.problems += [f"{name}{key} is not a key{nearest(key, known)}" for key in data if key not in known]
        self.problems += [f"{name}{key} is missing" for key in needed if key not in data]

    def _text(self, value: object, name: str) -> str:
        if isinstance(value, str):
            return value
        self.problems.append(f"{name} must be text, is {value!r}")
        return ""

    def _texts(self, value: object, name: str) -> tuple[str, ...]:
        if isinstance(value, str):
            return (value,)
        return tuple(self._text(item, name) for item in self._list(value, name))

    def _list(self, value: object, name: str) -> list[object]:
        if isinstance(value, list):
            return value
        self.problems.append(f"{name} must be a list, is {value!r}")
        return []

    def _whole(self, value: object, name: str) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        self.problems.append(f"{name} must be a whole number, is {value!r}")
        return 0

    def _number(self, value: object, name: str) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        self.problems.append(f"{name} must be a number, is {value!r}")
        return 0.0
