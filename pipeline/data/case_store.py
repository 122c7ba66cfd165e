"""Preprocess each case once, into memory-mapped files of slices. Knows nothing of sampling or networks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..io.paths import temporary_beside
from ..progress import bar
from .manifest import Case, Manifest
from .slice_grid import Preprocessing

POSITIONS_PER_CLASS = 2000  # pixels of each structure that a sample may be centred on: enough to be spread over all of it


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCase:
    """One preprocessed case: files that `np.load(mmap_mode="r")` opens without reading them."""

    case: str
    patient_id: str
    folder: Path

    @property
    def image(self) -> np.ndarray:
        """(slices, channels, rows, columns) float32."""
        return np.load(self.folder / "image.npy", mmap_mode="r")  # type: ignore[no-any-return]

    @property
    def label(self) -> np.ndarray:
        """(slices, rows, columns) class indices, or (slices, structures, rows, columns) of 0 and 1; uint8."""
        return np.load(self.folder / "label.npy", mmap_mode="r")  # type: ignore[no-any-return]

    @property
    def affine(self) -> np.ndarray:
        """4x4: (column, row, slice) index of these slices → mm in RAS+."""
        return np.load(self.folder / "affine.npy")  # type: ignore[no-any-return]

    def positions(self) -> list[np.ndarray]:
        """Per structure up to 2000 of its pixels: (n, 3) of slice, row, column."""
        with np.load(self.folder / "positions.npz") as file:
            return [file[name] for name in sorted(file.files, key=int)]


def store_cases(manifest: Manifest, cases: Sequence[Case], settings: Preprocessing, folder: Path) -> list[StoredCase]:
    """Preprocess what is not yet in the folder.

    Args:
        folder: filled with one folder a case; emptied first where it was made from other data or settings.
    Raises: UserError for a case that cannot be read, or a disk that is too small (said before the first case).
    """
    folder.mkdir(parents=True, exist_ok=True)
    _forget_other_data(folder, {"manifest": manifest.digest, "preprocessing": asdict(settings)})
    stored = [StoredCase(case=c.case, patient_id=c.patient_id, folder=folder / c.case) for c in cases]
    missing = [(case, target) for case, target in zip(cases, stored, strict=True) if not target.folder.is_dir()]
    if missing:
        _check_disk([case for case, _ in missing], folder)
        _store(manifest, missing, settings)
    return stored


def _store(manifest: Manifest, missing: Sequence[tuple[Case, StoredCase]], settings: Preprocessing) -> None:
    from .loading import loading_transforms

    transforms = loading_transforms(manifest, settings)
    for case, target in bar(missing, title="preprocessing", unit="case"):
        _write(transforms(case), len(manifest.table.structures), target.folder)


def _write(data: dict[str, np.ndarray], structures: int, folder: Path) -> None:
    aside = temporary_beside(folder, "")
    aside.mkdir()
    np.save(aside / "image.npy", data["image"])
    np.save(aside / "label.npy", data["label"])
    np.save(aside / "affine.npy", data["affine"])
    positions = {str(k): _positions(data["label"], k) for k in range(structures)}
    np.savez(aside / "positions.npz", **positions)  # type: ignore[arg-type]
    aside.rename(folder)


def _positions(label: np.ndarray, structure: int) -> np.ndarray:
    mask = label[:, structure] > 0 if label.ndim == 4 else label == structure + 1
    found = np.argwhere(mask)
    if len(found) > POSITIONS_PER_CLASS:
        found = found[np.random.default_rng(0).choice(len(found), POSITIONS_PER_CLASS, replace=False)]
    return found.astype(np.int32)


def _forget_other_data(folder: Path, key: dict[str, object]) -> None:
    file = folder / "made_from.json"
    text = json.dumps(key, sort_keys=True)
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return
    for old in folder.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    file.write_text(text, encoding="utf-8")


def _check_disk(cases: Sequence[Case], folder: Path) -> None:
    need_bytes = sum(int(np.prod(case.shape)) * (4 * len(case.image) + 1) for case in cases)
    free_bytes = shutil.disk_usage(folder).free
    if need_bytes * 1.1 > free_bytes:
        raise UserError(
            f"preprocessed slices need {need_bytes / 1e9:.1f} GB, {free_bytes / 1e9:.1f} GB are free",
            where=folder,
            next="Choose a run folder on a larger disk with -o.",
        )
