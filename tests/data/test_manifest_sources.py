"""Every layout of a labelled data set is recognised by what it holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_sets import SHAPE, save, write_pair, write_pictures

from pipeline.data.build_manifest import Built, Request, build_manifest
from pipeline.data.load import load_image, load_label
from pipeline.data.manifest import read_manifest
from pipeline.data.synthetic import write_synthetic_ct
from pipeline.errors import UserError
from pipeline.io.dicom.find import find_series


def build(source: Path, **said: object) -> Built:
    return build_manifest(source, Request(**{"name": "set", "folds": 2, **said}))


def codes(built: Built) -> set[str]:
    return {notice.code for notice in built.notices}


def test_decathlon_folder_with_its_description(tmp_path):
    for name in ("p1", "p2"):
        write_pair(tmp_path, name)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "liver"}, "modality": {"0": "CT"}}))
    built = build(tmp_path)
    assert built.kind.startswith("Decathlon folder")
    assert built.manifest.table.names == ("liver",)
    case = built.manifest.cases[0]
    assert (case.case, case.modality, case.shape, case.spacing_mm) == ("p1", "CT", SHAPE, (1, 2, 3))
    assert case.image == ("imagesTr/p1.nii.gz",) and len(case.image_sha256[0]) == 64
    assert built.voxels == {0: 2 * (360 - 8), 1: 2 * 8}


def test_nnunet_channels_belong_to_one_case(tmp_path):
    for name in ("p1", "p2"):
        write_pair(tmp_path, name, values=(1, 2))
        (tmp_path / f"imagesTr/{name}.nii.gz").rename(tmp_path / f"imagesTr/{name}_0000.nii.gz")
        save(tmp_path / f"imagesTr/{name}_0001.nii.gz", np.ones(SHAPE, np.int16))
    described = {"channel_names": {"0": "T1w", "1": "FLAIR"}, "labels": {"background": 0, "edema": 1, "core": 2}}
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    manifest = build(tmp_path).manifest
    assert manifest.cases[0].image == ("imagesTr/p1_0000.nii.gz", "imagesTr/p1_0001.nii.gz")
    assert manifest.cases[0].modality == "MR" and manifest.table.names == ("edema", "core")


@pytest.mark.parametrize(
    ("labels", "words"), [({"background": 0, "whole": [1, 2]}, "region"), ({"a": 1, "ignore": 2}, "ignore")]
)
def test_nnunet_labels_with_another_meaning_are_refused(tmp_path, labels, words):
    write_pair(tmp_path, "p1")
    (tmp_path / "imagesTr/p1.nii.gz").rename(tmp_path / "imagesTr/p1_0000.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "labels": labels}))
    with pytest.raises(UserError, match=words):
        build(tmp_path)
    assert build(tmp_path, labels={"a": 1}, folds=1).manifest.table.names == ("a",)


def test_pictures_need_a_word_on_their_pixel_size(tmp_path):
    write_pictures(tmp_path, 3)
    with pytest.raises(UserError, match="--pixel-size MM, or --pixel-size unknown"):
        build(tmp_path, labels={"cell": 255})
    unknown = build(tmp_path, labels={"cell": 255}, pixel_size_unknown=True).manifest.cases[0]
    assert (unknown.spacing_known, unknown.modality, unknown.shape) == (False, "picture", (30, 20, 1))
    known = build(tmp_path, labels={"cell": 255}, pixel_size_mm=0.25).manifest.cases[0]
    assert (known.spacing_known, known.spacing_mm, known.pixel_size_mm) == (True, (0.25, 0.25, 0.25), 0.25)


def test_the_background_may_have_another_value(tmp_path):
    write_pictures(tmp_path, 2, values=(255, 0))
    built = build(tmp_path, labels={"membrane": 0, "background": 255}, pixel_size_unknown=True)
    assert built.manifest.table.background == 255
    assert built.cases_with == {0: 2, 255: 2}


def test_masks_may_carry_an_ending_and_what_has_no_partner_is_told(tmp_path):
    for name in ("p1", "p2", "p3"):
        write_pair(tmp_path, name, folders=("images", "labels"))
    (tmp_path / "labels/p2.nii.gz").rename(tmp_path / "labels/p2_seg.nii.gz")
    (tmp_path / "labels/p3.nii.gz").unlink()
    (tmp_path / "images/notes.txt").write_text("x")
    built = build(tmp_path, labels={"a": 1})
    assert [case.label[0] for case in built.manifest.cases] == ["labels/p1.nii.gz", "labels/p2_seg.nii.gz"]
    assert {"images-without-mask", "files-set-aside"} <= codes(built)


def test_a_folder_of_links_to_files_elsewhere(tmp_path):
    for name in ("p1", "p2"):
        write_pair(tmp_path / "archive", name)
        for part in ("imagesTr", "labelsTr"):
            (tmp_path / "chosen" / part).mkdir(parents=True, exist_ok=True)
            (tmp_path / "chosen" / part / f"{name}.nii.gz").symlink_to(tmp_path / "archive" / part / f"{name}.nii.gz")
    manifest = build(tmp_path / "chosen", labels={"liver": 1}).manifest
    assert [case.image for case in manifest.cases] == [("imagesTr/p1.nii.gz",), ("imagesTr/p2.nii.gz",)]
    assert load_image(manifest, manifest.cases[0]).shape == SHAPE


def test_csv_with_everything_stated(tmp_path):
    for name in ("p1", "p2"):
        write_pair(tmp_path / "deep/er", name)
    rows = "image;label;case;patient_id;fold;modality;age\n" + "".join(
        f"deep/er/imagesTr/p{n}.nii.gz;deep/er/labelsTr/p{n}.nii.gz;case {n};Q{n};{n - 1};mri;7\n" for n in (1, 2)
    )
    (tmp_path / "list.csv").write_text(rows, encoding="utf-8-sig")
    built = build(tmp_path / "list.csv", labels={"a": 1})
    assert [(c.case, c.patient_id, c.fold, c.modality) for c in built.manifest.cases] == [
        ("case 1", "Q1", 0, "MR"),
        ("case 2", "Q2", 1, "MR"),
    ]
    assert "columns-ignored" in codes(built)


def test_csv_faults_are_named_with_their_line(tmp_path):
    (tmp_path / "list.csv").write_text("image,label\na.nii.gz,b.nii.gz\n,\n")
    with pytest.raises(UserError, match=r"line 2: .*a\.nii\.gz does not exist.*line 3"):
        build(tmp_path / "list.csv")


def test_csv_with_a_misspelt_column_names_the_nearest(tmp_path):
    (tmp_path / "list.csv").write_text("image,lable\na,b\n")
    with pytest.raises(UserError, match=r"label is missing .did you mean lable"):
        build(tmp_path / "list.csv")


def test_dicom_tree_with_nifti_masks(tmp_path):
    made = write_synthetic_ct(tmp_path / "ct", patients=2, held_out=0)
    built = build(made.training, labels={"organ": 1, "lesion": 2})
    assert built.kind == "DICOM tree, 2 of 2 series with a mask"
    assert [(c.case, c.image, c.label) for c in built.manifest.cases] == [
        (f"patient_0{n}", (f"patient_0{n}/series",), (f"patient_0{n}/mask.nii.gz",)) for n in (1, 2)
    ]
    assert {c.modality for c in built.manifest.cases} == {"CT"}
    assert len({c.patient_id for c in built.manifest.cases}) == 2
    assert "SYNTHETIC" not in str(built.manifest)


def test_of_two_series_in_one_folder_the_right_one_is_named(tmp_path):
    made = write_synthetic_ct(tmp_path / "ct", patients=2, held_out=0)
    for file in (made.training / "patient_02/series").iterdir():
        file.rename(made.training / f"patient_01/series/second_{file.name}")
    series = find_series(made.training)
    with pytest.raises(UserError, match="no DICOM series with a mask"):  # whose mask would it be?
        build(made.training, labels={"organ": 1, "lesion": 2})
    first = next(s for s in series if not any("second" in f.name for f in s.files))
    (made.training / "list.csv").write_text("image,label\npatient_01/series,patient_01/mask.nii.gz\n")
    with pytest.raises(UserError, match=first.short_uid):
        build(made.training / "list.csv", labels={"organ": 1, "lesion": 2}, folds=1)
    row = f"patient_01/series,patient_01/mask.nii.gz,{first.short_uid}\n"
    (made.training / "list.csv").write_text("image,label,series\n" + row)
    built = build(made.training / "list.csv", labels={"organ": 1, "lesion": 2}, folds=1)
    case = built.manifest.cases[0]
    assert load_label(built.manifest, case, load_image(built.manifest, case)).shape == case.shape


def test_values_nobody_named_are_refused_with_a_proposal(tmp_path):
    for name in ("p1", "p2"):
        write_pair(tmp_path, name, values=(1, 4))
    with pytest.raises(UserError, match=r"0 \(688 voxels\), 1 \(16 voxels\), 4 \(16 voxels\).*--labels NAME1=1,NAME2=4"):
        build(tmp_path)
    with pytest.raises(UserError, match="no mask holds a value of the label table"):
        build(tmp_path, labels={"x": 9})
    assert "values-undeclared" in codes(build(tmp_path, labels={"x": 1}))


def test_an_unreadable_file_is_named(tmp_path):
    for name in ("p1", "p2"):
        write_pair(tmp_path, name)
    whole = (tmp_path / "imagesTr/p2.nii.gz").read_bytes()
    (tmp_path / "imagesTr/p2.nii.gz").write_bytes(whole[:-200])
    with pytest.raises(UserError, match="1 of 2 cases cannot be read: p2"):
        build(tmp_path, labels={"a": 1})


def test_a_folder_of_nothing_known_says_what_was_looked_for(tmp_path):
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UserError, match="imagesTr/ and labelsTr/, images/ and masks/, a CSV file, or DICOM"):
        build(tmp_path)


def test_the_command_writes_manifest_and_page_and_keeps_a_filled_page(tmp_path, unet):
    for name in ("p1", "p2"):
        write_pair(tmp_path / "set", name)
    command = ("manifest", "set", "--name", "livers", "--labels", "liver=1", "--folds", 2, "--modality", "CT")
    first = unet(*command, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "2 cases of 2 patients in 2 folds; liver" in first.stdout
    page = tmp_path / "data_manifests/livers.md"
    assert "| 1 | liver | 16 | 2 |" in page.read_text()
    page.write_text("filled")
    assert unet(*command, cwd=tmp_path).returncode == 0
    assert page.read_text() == "filled"
    assert read_manifest(tmp_path / "data_manifests/livers.json").name == "livers"


def test_the_command_answers_bad_input_in_one_line(tmp_path, unet):
    answer = unet("manifest", tmp_path / "absent")
    assert answer.returncode == 2 and answer.stderr.count("\n") == 1 and "no such file" in answer.stderr
