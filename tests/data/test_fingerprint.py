"""The facts of a data set: what a plan goes by, worked out by hand from made scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_trainings import MULTI, OVERLAPPING, write_set

from pipeline.data.fingerprint import CASES_READ, fingerprint
from pipeline.data.load import load_image, load_label
from pipeline.data.manifest import Manifest, read_manifest
from pipeline.errors import UserError


def made(folder: Path, **settings: object) -> Manifest:
    return read_manifest(write_set(folder, **settings))


def inside_values(manifest: Manifest) -> np.ndarray:
    """All grey values within any structure."""
    images = [load_image(manifest, case) for case in manifest.cases]
    labels = [load_label(manifest, case, image).array for case, image in zip(manifest.cases, images, strict=True)]
    return np.concatenate([image.array[label > 0] for image, label in zip(images, labels, strict=True)])


def test_the_facts_of_a_made_set(tmp_path):
    manifest = made(tmp_path, modality="CT")
    seen = fingerprint(manifest, manifest.cases)
    assert (seen.cases, len(seen.read), seen.modality, seen.channels) == (4, 4, "CT", 1)
    assert seen.spacing_known and not seen.pictures
    assert seen.read[0].shape == (40, 36, 6)
    assert seen.read[0].spacing_mm == pytest.approx((1.0, 1.2, 4.0))
    assert seen.read[0].plane == "axial"
    label = load_label(manifest, manifest.cases[0], load_image(manifest, manifest.cases[0])).array
    columns, rows, slices = (len(np.unique(places)) for places in np.nonzero(label))  # the organ is convex: no gaps
    assert seen.read[0].extent_mm == pytest.approx((columns * 1.0, rows * 1.2, slices * 4.0))
    assert seen.text().startswith("4 cases, 4 of them read: CT, median 40 x 36 x 6 voxels of 1 x 1.2 x 4 mm; organ ")


def test_intensities_are_those_inside_the_structures_alone(tmp_path):
    manifest = made(tmp_path)
    inside, values = fingerprint(manifest, manifest.cases).inside, inside_values(manifest)
    assert inside is not None
    assert (inside.low, inside.high) == pytest.approx(tuple(np.percentile(values, [0.5, 99.5])), abs=1)
    assert (inside.mean, inside.deviation) == pytest.approx((values.mean(), values.std()), rel=0.01)


@pytest.mark.parametrize("table", [MULTI, OVERLAPPING], ids=["exclusive", "overlapping"])
def test_shares_are_voxels_of_each_structure_over_all(tmp_path, table):
    manifest = made(tmp_path, table=table)
    labels = [load_label(manifest, case, load_image(manifest, case)).array for case in manifest.cases]
    lesions = sum(int((label[..., 1] if table.overlapping else label == 4).sum()) for label in labels)
    shares = fingerprint(manifest, manifest.cases).shares
    assert list(shares) == ["organ", "lesion"]
    assert shares["lesion"] == pytest.approx(lesions / (4 * 40 * 36 * 6))
    assert 0 < shares["lesion"] < shares["organ"] < 1


def test_channels_are_counted(tmp_path):
    manifest = made(tmp_path, channels=3)
    assert fingerprint(manifest, manifest.cases).channels == 3


def test_of_many_cases_some_are_read_from_all_over_the_list(tmp_path):
    manifest = made(tmp_path, patients=2 * CASES_READ)
    for number in range(1, 2 * CASES_READ, 2):  # every second is read
        (tmp_path / f"image_{number}.nii.gz").unlink()
    seen = fingerprint(manifest, manifest.cases)
    assert (seen.cases, len(seen.read)) == (2 * CASES_READ, CASES_READ)


def test_a_case_that_cannot_be_read_is_named(tmp_path):
    manifest = made(tmp_path)
    (tmp_path / "image_2.nii.gz").write_bytes(b"no scan")
    with pytest.raises(UserError, match=r"image_2\.nii\.gz"):
        fingerprint(manifest, manifest.cases)
