"""Manifests: written, read back, refused with every fault at once, and read by MONAI."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_sets import AFFINE, SHAPE, save, write_pair

from pipeline.data.build_manifest import Request, build_manifest
from pipeline.data.load import load_image, load_label
from pipeline.data.manifest import Case, Manifest, read_manifest, write_manifest
from pipeline.errors import UserError
from pipeline.labels import label_table


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    for name in ("a", "b", "c"):
        write_pair(tmp_path / "set", name, values=(1, 2))
    request = Request(name="small", labels={"organ": 1, "lesion": 2}, modality="MR", folds=3)
    return build_manifest(tmp_path / "set", request).manifest


@pytest.fixture
def file(manifest: Manifest, tmp_path: Path) -> Path:
    write_manifest(manifest, tmp_path / "small.json")
    return tmp_path / "small.json"


def test_a_manifest_reads_back_as_it_was_written(manifest, file):
    assert read_manifest(file) == manifest
    assert not list(file.parent.glob(".small*"))


def test_monai_reads_the_same_file(manifest, file):
    from monai.data import load_decathlon_datalist

    items = load_decathlon_datalist(str(file), True, "training", base_dir=str(manifest.data_root))
    assert [Path(item["image"]) for item in items] == [manifest.data_root / case.image[0] for case in manifest.cases]
    assert [Path(item["label"]) for item in items] == [manifest.data_root / case.label[0] for case in manifest.cases]
    assert all(Path(item["image"]).is_file() for item in items)
    assert json.loads(file.read_text())["numTraining"] == 3
    assert json.loads(file.read_text())["labels"] == {"0": "background", "1": "organ", "2": "lesion"}


def test_the_digest_follows_the_content_and_not_the_place(manifest):
    assert replace(manifest, name="other", data_root=Path("/elsewhere")).digest == manifest.digest
    moved = replace(manifest.cases[0], fold=7)
    assert replace(manifest, cases=(moved, *manifest.cases[1:])).digest != manifest.digest


def test_data_that_moved_are_found_with_another_root(manifest, file, tmp_path):
    (tmp_path / "set").rename(tmp_path / "moved")
    with pytest.raises(UserError, match="no such file"):
        load_image(read_manifest(file), manifest.cases[0])
    assert load_image(read_manifest(file, data_root=tmp_path / "moved"), manifest.cases[0]).shape == SHAPE


def test_a_relative_data_root_counts_from_the_manifest(file):
    data = json.loads(file.read_text()) | {"data_root": "set"}
    file.write_text(json.dumps(data))
    assert read_manifest(file).data_root == file.parent / "set"


def test_all_faults_are_named_at_once_and_a_slip_gets_the_nearest_key(file):
    data = json.loads(file.read_text())
    data["traning"] = []
    data["training"][0]["paitent_id"] = data["training"][0].pop("patient_id")
    data["training"][1]["fold"] = "one"
    data["training"][2]["image"] = "../../secret.nii.gz"
    file.write_text(json.dumps(data))
    with pytest.raises(UserError) as error:
        read_manifest(file)
    line = str(error.value)
    assert "traning is not a key (did you mean training?)" in line
    assert "paitent_id is not a key (did you mean patient_id?)" in line and "patient_id is missing" in line
    assert "fold must be a whole number, is 'one'" in line
    assert "'../../secret.nii.gz' must be a path inside the data root" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"case": "a/b"}, "no slash"),
        ({"fold": -1}, "fold must be 0 or more"),
        ({"shape": [8, 0, 5]}, "three sizes"),
        ({"spacing": [1, 1]}, "three lengths"),
        ({"label": []}, "at least one file"),
        ({"sha256": {"image": ["x", "y"]}}, "2 sha256 for 1 image files"),
        ({"spacing_known": "no"}, "true or false"),
    ],
)
def test_a_wrong_case_is_refused(file, change, words):
    data = json.loads(file.read_text())
    data["training"][0] |= change
    file.write_text(json.dumps(data))
    with pytest.raises(UserError, match=words):
        read_manifest(file)


def test_a_plain_datalist_is_no_manifest(tmp_path):
    (tmp_path / "list.json").write_text('{"training": [{"image": "a.nii.gz", "label": "b.nii.gz"}]}')
    with pytest.raises(UserError, match="label_table is missing: this is a datalist"):
        read_manifest(tmp_path / "list.json")


def test_what_is_no_json_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match="not a JSON file"):
        read_manifest(tmp_path / "x.json")


def case_of(*image: str, label: tuple[str, ...] = ("m.nii.gz",)) -> Case:
    return Case(case="x", image=image, label=label, patient_id="x", fold=0, shape=SHAPE, spacing_mm=(1, 2, 3))


def test_channels_are_stacked_last_in_the_stated_order(tmp_path):
    save(tmp_path / "t1.nii.gz", np.full(SHAPE, 1, np.int16))
    save(tmp_path / "t2.nii.gz", np.full(SHAPE, 2, np.int16))
    manifest = Manifest(name="x", data_root=tmp_path, table=label_table({"a": 1}), cases=())
    volume = load_image(manifest, case_of("t2.nii.gz", "t1.nii.gz"))
    assert volume.array.shape == (*SHAPE, 2) and volume.array[0, 0, 0].tolist() == [2, 1]


def test_channels_on_different_grids_are_refused_in_mm(tmp_path):
    save(tmp_path / "t1.nii.gz", np.zeros(SHAPE, np.int16))
    moved = AFFINE.copy()
    moved[0, 3] = 4
    save(tmp_path / "t2.nii.gz", np.zeros(SHAPE, np.int16), moved)
    manifest = Manifest(name="x", data_root=tmp_path, table=label_table({"a": 1}), cases=())
    with pytest.raises(UserError, match=r"t2.*4\.00 mm"):
        load_image(manifest, case_of("t1.nii.gz", "t2.nii.gz"))


def test_one_mask_file_a_structure_becomes_channels(tmp_path):
    save(tmp_path / "i.nii.gz", np.zeros(SHAPE, np.int16))
    whole, core = np.zeros((2, *SHAPE), np.uint8)
    whole[1:4], core[2] = 1, 1
    save(tmp_path / "whole.nii.gz", whole)
    save(tmp_path / "core.nii.gz", core)
    table = label_table({"whole": 1, "core": 2}, overlapping=True)
    case = case_of("i.nii.gz", label=("whole.nii.gz", "core.nii.gz"))
    manifest = Manifest(name="x", data_root=tmp_path, table=table, cases=(case,))
    label = load_label(manifest, case, load_image(manifest, case))
    assert label.array.shape == (*SHAPE, 2)
    assert label.array.sum(axis=(0, 1, 2)).tolist() == [3 * 45, 45]
