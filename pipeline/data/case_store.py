"""Preprocess each case once, into memory-mapped files of slices. Knows nothing of sampling or networks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..cores import usable_cores
from ..errors import UserError
from ..io.paths import written_aside
from ..progress import bar, say
from .manifest import Case, Manifest
from .opened import opened
from .slice_grid import Preprocessing

FORMAT = 3  # of the files of a case: those of another are made anew
AT_ONCE = 4  # cases that are read together at most: each may take some gigabytes
POSITIONS_PER_CLASS = 2000  # pixels of each structure that a sample may be centred on: enough to be spread over all of it


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCase:
    """One preprocessed case: files that are mapped into memory, so that opening one reads nothing of it."""

    case: str
    patient_id: str
    folder: Path

    @property
    def image(self) -> np.ndarray:
        """(slices, channels, rows, columns) float32."""
        return opened(self.folder / "image.npy")

    @property
    def label(self) -> np.ndarray:
        """(slices, rows, columns) class indices, or (slices, structures, rows, columns) of 0 and 1; uint8."""
        return opened(self.folder / "label.npy")

    @property
    def affine(self) -> np.ndarray:
        """4x4: (column, row, slice) index of these slices → mm in RAS+."""
        return np.load(self.folder / "affine.npy")  # type: ignore[no-any-return]

    @property
    def structures(self) -> int:
        """How many the label table has."""
        return len(list(self.folder.glob("positions_*.npy")))

    @property
    def voxels(self) -> np.ndarray:
        """(structures,) int64: how many of each structure, in the order of the label table."""
        return np.load(self.folder / "voxels.npy")  # type: ignore[no-any-return]

    def positions(self, structure: int) -> np.ndarray:
        """Up to 2000 pixels of the structure at this place of the label table: (n, 3) of slice, row, column."""
        return opened(self.folder / f"positions_{structure}.npy")


def store_cases(
    manifest: Manifest,
    cases: Sequence[Case],
    settings: Preprocessing,
    folder: Path,
    *,
    before_each: Callable[[], None] = lambda: None,
) -> list[StoredCase]:
    """Preprocess what is not yet in the folder.

    Args:
        folder: filled with one folder a case; emptied first where it was made from other data or settings.
        before_each: called before each case that is preprocessed; may raise to end the work when those begun are whole.
    Raises: UserError for a case that cannot be read, or a disk that is too small (said before the first case).
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*.part"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    _forget_other_data(folder, {"format": FORMAT, "manifest": manifest.digest, "preprocessing": asdict(settings)})
    stored = [StoredCase(case=c.case, patient_id=c.patient_id, folder=folder / c.case) for c in cases]
    missing = [(case, target) for case, target in zip(cases, stored, strict=True) if not target.folder.is_dir()]
    if missing:
        _check_disk([case for case, _ in missing], manifest, settings, folder)
        _store(manifest, missing, settings, before_each)
    return stored


def _store(
    manifest: Manifest,
    missing: Sequence[tuple[Case, StoredCase]],
    settings: Preprocessing,
    before_each: Callable[[], None],
) -> None:
    from .loading import loading_transforms

    transforms = loading_transforms(manifest, settings)

    def store(case: Case, target: StoredCase) -> None:
        before_each()
        try:
            data = transforms(case)
        except RuntimeError as error:  # MONAI's Compose wraps whatever a transform raises
            if isinstance(error.__cause__, UserError):
                raise error.__cause__ from error
            raise
        _write(data, len(manifest.table.structures), target.folder)

    # threads: unpacking, statistics and resampling let each other run, and nothing has to be imported again
    with ThreadPoolExecutor(min(AT_ONCE, usable_cores())) as pool:
        running = [pool.submit(store, case, target) for case, target in missing]
        try:
            for done in bar(running, title="preprocessing", unit="case"):
                done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write(data: dict[str, np.ndarray], structures: int, folder: Path) -> None:
    try:
        with written_aside(folder) as aside:
            np.save(aside / "image.npy", data["image"])
            np.save(aside / "label.npy", data["label"])
            np.save(aside / "affine.npy", data["affine"])
            found = [_positions(data["label"], structure) for structure in range(structures)]
            for structure, (positions, _) in enumerate(found):
                np.save(aside / f"positions_{structure}.npy", positions)
            np.save(aside / "voxels.npy", np.array([voxels for _, voxels in found], dtype=np.int64))
    except OSError as error:
        reason = error.strerror or "the disk is full"  # NumPy does not say why fewer bytes were written
        raise UserError(
            f"preprocessed slices cannot be written ({reason})", where=folder, next="Choose another place for the run with -o."
        ) from error


def _positions(label: np.ndarray, structure: int) -> tuple[np.ndarray, int]:
    """Some places of a structure, and how many there are.

    Slice by slice: the places of all pixels of a large structure would take more memory than the scan.
    """
    slices = label[:, structure] if label.ndim == 4 else label
    value = 1 if label.ndim == 4 else structure + 1
    ends = np.cumsum([np.count_nonzero(one == value) for one in slices])
    picks = np.arange(ends[-1])
    if len(picks) > POSITIONS_PER_CLASS:
        picks = np.sort(np.random.default_rng(0).choice(ends[-1], POSITIONS_PER_CLASS, replace=False))
    found = [np.empty((0, 3), dtype=np.int32)]
    for number, end in enumerate(ends):
        start = ends[number - 1] if number else 0
        within = picks[(picks >= start) & (picks < end)] - start
        if len(within):
            rows, columns = np.nonzero(slices[number] == value)
            found.append(np.column_stack([np.full(len(within), number), rows[within], columns[within]]).astype(np.int32))
    return np.concatenate(found), int(ends[-1])


def _forget_other_data(folder: Path, key: dict[str, object]) -> None:
    file = folder / "made_from.json"
    text = json.dumps(key, sort_keys=True)
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return
    for old in folder.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    file.write_text(text, encoding="utf-8")


def network_pixels(case: Case, settings: Preprocessing) -> float:
    """Pixels of all slices as the network sees them.

    Which axes lie in the plane the manifest does not say: the two with the smaller spacing, as scanners have it.
    """
    finer = [mm / settings.spacing_mm if settings.spacing_mm else 1.0 for mm in sorted(case.spacing_mm)]
    return float(np.prod(case.shape)) * finer[0] * finer[1]


def _check_disk(cases: Sequence[Case], manifest: Manifest, settings: Preprocessing, folder: Path) -> None:
    label_bytes = len(manifest.table.structures) if manifest.table.overlapping else 1
    need_bytes = 0.0
    for case in cases:
        need_bytes += network_pixels(case, settings) * (4 * len(case.image) + label_bytes)
    free_bytes = shutil.disk_usage(folder).free
    if need_bytes * 1.1 > free_bytes:
        raise UserError(
            f"preprocessed slices need {need_bytes / 1e9:.1f} GB, {free_bytes / 1e9:.1f} GB are free",
            where=folder,
            next="Choose a run folder on a larger disk with -o.",
        )
    say(f"unet: preprocessing {len(cases)} cases once: {max(need_bytes / 1e9, 0.01):.2f} GB beside the run")
