"""Small labelled data sets on disk, for tests."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
SHAPE = (8, 9, 5)


def write_pair(
    root: Path,
    name: str,
    *,
    values: tuple[int, ...] = (1,),
    seed: int | None = None,
    folders: tuple[str, str] = ("imagesTr", "labelsTr"),
) -> None:
    """One noisy image with a mask that holds each of the values in one row of voxels."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(abs(hash_of(name)) if seed is None else seed)
    image = random.integers(0, 1000, SHAPE).astype(np.int16)
    mask = np.zeros(SHAPE, dtype=np.uint8)
    for row, value in enumerate(values):
        mask[:, row + 1, 2] = value
    save(root / folders[0] / f"{name}.nii.gz", image)
    save(root / folders[1] / f"{name}.nii.gz", mask)


def hash_of(name: str) -> int:
    """The same on every machine, unlike hash()."""
    return int.from_bytes(name.encode()[-6:], "little")


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def write_pictures(root: Path, count: int, *, values: tuple[int, int] = (0, 255)) -> None:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    for number in range(count):
        Image.fromarray(random.integers(0, 256, (20, 30), dtype=np.uint8)).save(root / f"images/cell{number}.png")
        mask = np.full((20, 30), values[0], dtype=np.uint8)
        mask[5:15, 5:25] = values[1]
        Image.fromarray(mask).save(root / f"masks/cell{number}.png")
