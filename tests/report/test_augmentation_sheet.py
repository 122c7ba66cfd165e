"""The page of distortions: originals first, each row another distortion, outlines moving with the image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_trainings import AFFINE, MULTI, OVERLAPPING
from PIL import Image

from pipeline.data.augmentation import DISTORTIONS, Augmentation
from pipeline.data.case_store import StoredCase
from pipeline.data.samples import Sampling, SliceSamples
from pipeline.report.augmentation_sheet import DRAWS, TOGETHER, augmentation_rows, augmentation_sheet

SAMPLING = Sampling(patch=(48, 48), border=0, neighbours=1, foreground_fraction=1.0, seed=3)
EVERY = Augmentation(flips=("columns",), elastic_px=2, **dict.fromkeys(DISTORTIONS.values(), 0.5))
ORGAN, LESION = (structure.colour for structure in MULTI.structures)


def store(folder: Path, *, overlapping: bool = False) -> StoredCase:
    """An organ on the left side with a lesion in it, in slices of which the middle channel alone is not black."""
    row, column = np.indices((60, 60))
    organ = np.hypot(row - 30, column - 22) < 14
    lesion = np.hypot(row - 26, column - 20) < 5
    one = np.stack([organ, lesion]).astype(np.uint8) if overlapping else organ.astype(np.uint8) + lesion
    folder.mkdir()
    np.save(folder / "image.npy", np.stack([organ * 1.0 + lesion + 0.1 * np.sin(row)] * 3)[:, None].astype(np.float32))
    np.save(folder / "label.npy", np.stack([one] * 3))
    np.save(folder / "affine.npy", AFFINE)
    places = [np.argwhere(np.stack([mask] * 3)).astype(np.int32) for mask in (organ & ~lesion, lesion)]
    for k, place in enumerate(places):
        np.save(folder / f"positions_{k}.npy", place)
    return StoredCase(case=folder.name, patient_id=folder.name, folder=folder)


def samples(tmp_path: Path, augmentation: Augmentation = EVERY, **changes: object) -> SliceSamples:
    return SliceSamples([store(tmp_path / "case")], replace(SAMPLING, **changes), augmentation)


def where(cell: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """Pixels of an outline."""
    return np.abs(np.asarray(cell).astype(int) - colour).max(axis=-1) < 30


def test_each_distortion_has_a_row_behind_its_original_and_all_together_have_some(tmp_path):
    rows = augmentation_rows(samples(tmp_path), MULTI)
    assert len(rows) == len(DISTORTIONS) + TOGETHER
    assert all(len(row) == 1 + DRAWS for row in rows)
    originals = [row[0].tobytes() for row in rows]
    assert len(set(originals[: len(DISTORTIONS)])) == 1
    assert all(cell.size == rows[0][0].size for row in rows for cell in row)
    assert rows[0][0].height / rows[0][0].width == pytest.approx(1.2, abs=0.01)  # a pixel is 1.0 mm wide and 1.2 mm high


def test_outlines_stay_where_intensities_change_and_move_with_the_image(tmp_path):
    rows = dict(zip([*EVERY.drawn, "all"], augmentation_rows(samples(tmp_path), MULTI), strict=False))
    original = where(rows["noise"][0], ORGAN)
    assert original.sum() > 100 and where(rows["noise"][0], LESION).sum() > 30
    for name, row in rows.items():
        for cell in row[1:]:
            now = where(cell, ORGAN)
            shared = (now & original).sum() / (now | original).sum()  # not all: a line's soft edge takes on the grey beside it
            assert cell.tobytes() != row[0].tobytes() or name == "all"
            assert name == "all" or (shared > 0.8) == (name not in ("deformation", "flips")), name
    flipped = where(rows["flips"][1], ORGAN)
    assert (flipped & original[:, ::-1]).sum() / (flipped | original[:, ::-1]).sum() > 0.6


def test_distortions_that_are_off_have_no_row(tmp_path):
    few = Augmentation(noise_probability=0.3).only("noise")
    assert len(augmentation_rows(samples(tmp_path, few), MULTI)) == 1 + TOGETHER


def test_overlapping_structures_and_a_network_with_a_border_are_shown_too(tmp_path):
    both = SliceSamples([store(tmp_path / "both", overlapping=True)], replace(SAMPLING, border=8), EVERY)
    cell = augmentation_rows(both, OVERLAPPING)[0][0]
    assert where(cell, ORGAN).sum() > 100 and where(cell, LESION).sum() > 30
    frame = where(cell, (170, 175, 182))
    assert frame[:, cell.width // 6].mean() > 0.6  # 8 of 48 pixels from the edge


def test_equal_seeds_give_equal_pages_and_other_seeds_others(tmp_path):
    case = store(tmp_path / "case")
    pages = [
        augmentation_sheet(SliceSamples([case], replace(SAMPLING, seed=seed), EVERY), MULTI, title="set").tobytes()
        for seed in (1, 1, 2)
    ]
    assert pages[0] == pages[1] != pages[2]
