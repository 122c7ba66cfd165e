"""Preprocessed cases on disk: made once, whole or absent, and refused in words where something is wrong."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from made_trainings import AFFINE, MULTI, OVERLAPPING, SHAPE, write_set

from pipeline.data import case_store
from pipeline.data.case_store import store_cases
from pipeline.data.manifest import Manifest, read_manifest
from pipeline.data.slice_grid import Preprocessing
from pipeline.errors import UserError


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return read_manifest(write_set(tmp_path / "set"))


def times_written(folder: Path) -> list[int]:
    return [(folder / f"case_{number}" / "image.npy").stat().st_mtime_ns for number in range(4)]


def test_a_stored_case_is_the_scan_on_the_networks_grid(manifest, tmp_path):
    stored = store_cases(manifest, manifest.cases, Preprocessing(), tmp_path / "cache")[0]
    assert stored.image.shape == (6, 1, 36, 40)  # slices, channels, rows, columns
    assert stored.image.dtype == np.float32
    label = np.asarray(nibabel.load(manifest.data_root / "label_0.nii.gz").dataobj)
    landmark = np.argwhere(label == 4)[0]
    mm = AFFINE @ (*landmark, 1)
    column, row, number, _ = np.rint(np.linalg.inv(stored.affine) @ mm).astype(int)
    assert stored.label[number, row, column] == 2  # the table's second structure
    assert np.count_nonzero(stored.label == 2) == np.count_nonzero(label == 4)


@pytest.mark.parametrize("table", [MULTI, OVERLAPPING])
def test_positions_lie_in_their_structure_and_are_spread_over_its_slices(tmp_path, table):
    manifest = read_manifest(write_set(tmp_path / "set", table))
    stored = store_cases(manifest, manifest.cases, Preprocessing(), tmp_path / "cache")
    for case in stored:
        assert case.structures == 2
        for structure in range(2):
            places = case.positions(structure)
            mask = case.label[:, structure] == 1 if table.overlapping else case.label == structure + 1
            assert mask[tuple(places.T)].all()
            assert len(np.unique(places, axis=0)) == len(places) == min(2000, np.count_nonzero(mask))
            assert set(places[:, 0]) == set(np.nonzero(mask)[0])
            assert case.voxels[structure] == np.count_nonzero(mask)
    assert len(stored[2].positions(1)) == 0  # this patient has no lesion


def test_a_second_time_reads_what_is_there(manifest, tmp_path):
    store_cases(manifest, manifest.cases, Preprocessing(), tmp_path / "cache")
    before = times_written(tmp_path / "cache")
    store_cases(manifest, manifest.cases, Preprocessing(), tmp_path / "cache")
    assert times_written(tmp_path / "cache") == before


@pytest.mark.parametrize("changed", ["settings", "data"])
def test_other_settings_or_other_data_are_preprocessed_anew(manifest, tmp_path, changed):
    store_cases(manifest, manifest.cases, Preprocessing(), tmp_path / "cache")
    before = times_written(tmp_path / "cache")
    if changed == "data":
        manifest = replace(manifest, cases=tuple(replace(c, patient_id=f"new {c.patient_id}") for c in manifest.cases))
    settings = Preprocessing(plane="coronal") if changed == "settings" else Preprocessing()
    stored = store_cases(manifest, manifest.cases, settings, tmp_path / "cache")
    assert all(new > old for new, old in zip(times_written(tmp_path / "cache"), before, strict=True))
    assert stored[0].image.shape[0] == (SHAPE[1] if changed == "settings" else SHAPE[2])


def test_stopped_between_cases_keeps_the_whole_ones_and_nothing_else(manifest, tmp_path):
    calls = []

    def stop_at_the_third() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store_cases(manifest, manifest.cases, Preprocessing(), tmp_path / "cache", before_each=stop_at_the_third)
    kept = {p.name for p in (tmp_path / "cache").iterdir()} - {"made_from.json"}
    assert len(kept) in (2, 3)  # a third may have been begun beside the two
    assert kept < {case.case for case in manifest.cases}
    calls.clear()
    stored = store_cases(manifest, manifest.cases, Preprocessing(), tmp_path / "cache", before_each=lambda: calls.append(1))
    assert len(calls) == 4 - len(kept)  # the rest
    assert all(case.image.shape == stored[0].image.shape for case in stored)


def test_what_a_killed_process_left_is_swept_away(manifest, tmp_path):
    (tmp_path / "cache" / ".case_0.17.part").mkdir(parents=True)
    store_cases(manifest, manifest.cases, Preprocessing(), tmp_path / "cache")
    assert not list((tmp_path / "cache").glob(".*"))


def test_a_data_file_that_vanished_is_named(manifest, tmp_path):
    (manifest.data_root / "label_1.nii.gz").unlink()
    with pytest.raises(UserError, match=r"label_1\.nii\.gz: there is no such file"):
        store_cases(manifest, manifest.cases, Preprocessing(), tmp_path / "cache")


def test_a_file_that_changed_since_the_manifest_is_refused(manifest, tmp_path):
    changed = np.zeros(SHAPE, dtype=np.uint8)
    nibabel.save(nibabel.Nifti1Image(changed, AFFINE), manifest.data_root / "label_3.nii.gz")
    with pytest.raises(UserError, match=r"label_3\.nii\.gz: has changed since the manifest was made"):
        store_cases(manifest, manifest.cases, Preprocessing(), tmp_path / "cache")


def test_nan_voxels_are_refused_with_the_name_of_the_case(manifest, tmp_path):
    image = np.full(SHAPE, np.nan, dtype=np.float32)
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), manifest.data_root / "image_1.nii.gz")
    unhashed = replace(manifest, cases=tuple(replace(c, image_sha256=()) for c in manifest.cases))
    with pytest.raises(UserError, match=r"case_1: 8640 voxels are NaN or infinite\. unet check"):
        store_cases(unhashed, unhashed.cases, Preprocessing(), tmp_path / "cache")


def test_a_disk_that_is_too_small_is_said_before_the_first_case(manifest, tmp_path, monkeypatch):
    usage = case_store.shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(case_store.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(UserError, match=r"preprocessed slices need 0\.0 GB, 0\.0 GB are free"):
        store_cases(manifest, manifest.cases, Preprocessing(), tmp_path / "cache")
    usage = usage._replace(free=300_000)
    store_cases(manifest, manifest.cases, Preprocessing(), tmp_path / "cache")  # 4 cases of 43 kB: 173 kB with labels
    with pytest.raises(UserError, match="preprocessed slices need"):  # four times the pixels
        store_cases(manifest, manifest.cases, Preprocessing(spacing_mm=0.55), tmp_path / "cache")


def test_a_disk_that_fills_up_on_the_way_is_one_line_and_nothing_half_written(manifest, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # Python ignores SIGXFSZ: writing more is an error
    try:
        with pytest.raises(UserError, match=r"preprocessed slices cannot be written \(.+\)"):
            store_cases(manifest, manifest.cases, Preprocessing(), tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["made_from.json"]
