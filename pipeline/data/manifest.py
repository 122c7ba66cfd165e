"""The description of a data set: which files, whose patient, which fold, which hash. Knows nothing of training.

The file is a MONAI/Decathlon datalist (`training: [{image, label, ...}]`) with more keys; docs/data.md describes each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..errors import UserError
from ..io.paths import existing, file_aside
from ..labels import LabelTable
from .manifest_gate import Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One image with its mask."""

    case: str  # its name in every table; unique in the manifest
    image: tuple[str, ...]  # files or DICOM folders, relative to the data root, with "/"; several are channels
    label: tuple[str, ...]  # one mask; or one a structure, in the label table's order
    patient_id: str  # cases of one patient never stand in two folds
    fold: int  # in which fold it is validated, from 0
    image_sha256: tuple[str, ...] = ()  # one an image entry; of a folder: see `hashing.py`
    label_sha256: tuple[str, ...] = ()
    shape: tuple[int, int, int]  # (columns, rows, slices)
    spacing_mm: tuple[float, float, float]  # 1 where it is not known
    spacing_known: bool = True  # False: a picture without a pixel size
    modality: str = ""  # DICOM's code ("CT", "MR", ...), "picture", or "" where nobody said
    pixel_size_mm: float | None = None  # pictures only
    series: str = ""  # which series, where the DICOM folder holds several
    volume: str = ""  # which volume, where the series holds several

    def problems(self) -> list[str]:
        """What is wrong in itself; empty for a good case."""
        found = []
        if not self.case or not self.patient_id:
            found.append("case and patient_id must not be empty")
        if self.case in (".", "..") or any(c in "/\\\0" for c in self.case):
            found.append("the name of a case becomes a file name: no slash in it")
        if not self.image or not self.label:
            found.append("image and label need at least one file each")
        for path in (*self.image, *self.label):
            parts = PurePosixPath(path).parts
            if not path or path.startswith("/") or ":" in path[:3] or ".." in parts:
                found.append(f"'{path}' must be a path inside the data root")
        if self.fold < 0:
            found.append(f"fold must be 0 or more, is {self.fold}")
        if len(self.shape) != 3 or min(self.shape) < 1:
            found.append(f"shape must be three sizes of at least 1, is {list(self.shape)}")
        if len(self.spacing_mm) != 3 or not all(0 < mm < float("inf") for mm in self.spacing_mm):
            found.append(f"spacing must be three lengths above 0 mm, is {list(self.spacing_mm)}")
        for name, files, digests in (("image", self.image, self.image_sha256), ("label", self.label, self.label_sha256)):
            if digests and len(digests) != len(files):
                found.append(f"{len(digests)} sha256 for {len(files)} {name} files")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A data set: its cases and what their masks mean."""

    name: str
    data_root: Path  # absolute; where the cases' paths start
    table: LabelTable
    cases: tuple[Case, ...]
    structures: Mapping[str, int] = field(default_factory=dict)  # RTSTRUCT and SEG: name pattern → value of the table

    @property
    def digest(self) -> str:
        """sha256 of everything that a training sees: cases with their hashes, label table; not the name, not the place."""
        content = _content(self)
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @property
    def folds(self) -> tuple[int, ...]:
        return tuple(sorted({case.fold for case in self.cases}))


def read_manifest(path: Path | str, *, data_root: Path | str | None = None) -> Manifest:
    """Read and judge a manifest; behind this nobody checks its keys again.

    Args:
        path: the JSON file.
        data_root: where the data lie now; absent: as the file says (relative to the file's own folder), which need not exist:
            a bundle is built without the data.
    Raises: UserError with all problems at once; a misspelt key is answered with the nearest.
    """
    path = existing(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"is not a JSON file ({error})", where=path, next="'unet manifest' writes one.") from error
    gate = Gate(data, where=path)
    table = gate.table()
    cases = tuple(Case(**entry) for entry in gate.cases())
    for case in cases:
        gate.problems += [f"{case.case}: {problem}" for problem in case.problems()]
    names = [case.case for case in cases]
    gate.problems += [f"two cases are named {name}" for name in sorted({n for n in names if names.count(n) > 1})]
    structures = gate.structures(table)
    recorded = gate.text("data_root")
    gate.raise_problems()
    root = path.parent / recorded if data_root is None else existing(data_root)
    return Manifest(name=gate.text("name"), data_root=root.resolve(), table=table, cases=cases, structures=structures)


def write_manifest(manifest: Manifest, path: Path | str) -> None:
    """Write a manifest, read it back, then put it in place. An existing file is replaced."""
    path = Path(path)
    text = _text(manifest)
    with file_aside(path, ".json") as aside:
        aside.write_text(text, encoding="utf-8")
        if read_manifest(aside, data_root=manifest.data_root).digest != manifest.digest:
            raise RuntimeError(f"{path.name} does not read back as it was written")


def _text(manifest: Manifest) -> str:
    """The JSON, one line a case, so that a person can read it and a diff shows the case that changed."""
    content = _content(manifest)
    structures = manifest.table.structures
    head: dict[str, object] = {
        "name": manifest.name,
        "data_root": manifest.data_root.resolve().as_posix(),
        "modality": {"0": "/".join(sorted({case.modality for case in manifest.cases}))},
        # for other programs; label_table is what counts here
        "labels": {str(manifest.table.background): "background"} | {str(s.value): s.name for s in structures},
        "label_table": content["label_table"],
        "numTraining": len(manifest.cases),
    }
    if manifest.structures:
        head["structures"] = dict(manifest.structures)
    lines = [f' "{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in head.items()]
    cases = ",\n".join(f"  {json.dumps(_entry(case), ensure_ascii=False)}" for case in manifest.cases)
    return "{\n" + ",\n".join(lines) + f',\n "training": [\n{cases}\n ]\n}}\n'


def _content(manifest: Manifest) -> dict[str, object]:
    """What decides a training, as plain types."""
    return {
        "label_table": manifest.table.to_json(),
        "structures": dict(manifest.structures),
        "training": [_entry(case) for case in manifest.cases],
    }


def _entry(case: Case) -> dict[str, object]:
    entry: dict[str, object] = {
        "image": _one_or_list(case.image),
        "label": _one_or_list(case.label),
        "case": case.case,
        "patient_id": case.patient_id,
        "fold": case.fold,
        "sha256": {"image": _one_or_list(case.image_sha256), "label": _one_or_list(case.label_sha256)},
        "spacing": list(case.spacing_mm),
        "shape": list(case.shape),
        "modality": case.modality,
    }
    if not case.spacing_known:
        entry["spacing_known"] = False
    if case.pixel_size_mm is not None:
        entry["pixel_size_mm"] = case.pixel_size_mm
    return entry | {key: value for key, value in (("series", case.series), ("volume", case.volume)) if value}


def _one_or_list(items: tuple[str, ...]) -> str | list[str]:
    return items[0] if len(items) == 1 else list(items)
