"""`unet predict` as a user types it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from made_runs import make_bundle, thresholding_bundle
from made_series import MR, noise, save, volume_datasets
from PIL import Image
from pydicom import dcmread

from pipeline.bundle.bundle import Bundle
from pipeline.cli.main import main
from pipeline.labels import label_table

PATIENT = {
    "PatientName": "Doessel^Janette",
    "PatientID": "PAT-4711",
    "PatientBirthDate": "19700423",
    "StudyDate": "20240229",
    "AccessionNumber": "ACC998877",
    "InstitutionName": "Ward Seven",
    "ReferringPhysicianName": "Quincy^Dr",
}
SERIES_UID = "1.2.826.0.1.3680043.8.498.55667788.12345678"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("made"), modality="CT")


def write_series(folder: Path, *, seed: int = 0, **attributes: object) -> Path:
    soft = noise(6, 24, 28, seed=seed) // 8 + 900  # -100 to 411 HU
    return save(volume_datasets(soft, **{"series": SERIES_UID, **PATIENT, **attributes}), folder)


def save_nifti(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([-1.0, -1, 3, 1])), path)
    return path


def hounsfield(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(50, 150, (24, 20, 5)).astype(np.int16)


def mask_of(folder: Path) -> np.ndarray:
    return np.asarray(nibabel.load(folder / "mask.nii.gz").dataobj)


def test_a_series_becomes_a_folder_named_by_number_and_end_of_its_uid(bundle: Bundle, tmp_path: Path, capsys) -> None:
    assert main(["predict", str(bundle.path), str(write_series(tmp_path / "in")), "-o", str(tmp_path / "out")]) == 0
    folder = tmp_path / "out" / "series4_12345678"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(folder)
    assert [line.split(":")[0] for line in lines[1:]] == ["  organ", "  lesion"]
    assert all(line.endswith(" ml") for line in lines[1:])
    assert sorted(path.name for path in folder.iterdir()) == [
        "mask.json",
        "mask.nii.gz",
        "mask.seg.dcm",
        "overlay.png",
        "report.html",
    ]
    assert mask_of(folder).shape == (28, 24, 6)
    with Image.open(folder / "overlay.png") as picture:
        assert min(picture.size) > 100


def test_nothing_of_the_patient_is_in_mask_picture_and_names(bundle: Bundle, tmp_path: Path, capsys) -> None:
    names = [f"DOESSEL_JANETTE_{n}.dcm" for n in range(7)]
    datasets = volume_datasets(noise(6, 24, 28), series=SERIES_UID, SpacingBetweenSlices=5.0, **PATIENT)
    series = save([*datasets, datasets[2]], tmp_path / "Doessel Janette 19700423", names=names)
    assert main(["predict", str(bundle.path), str(series), "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.count("note:") == 2  # a copy, a wrong distance: both name files on the console
    secrets = ["pat-4711", "20240229", "acc998877", "ward seven", "quincy"]
    sidecar = (tmp_path / "out" / "series4_12345678" / "mask.json").read_text().lower()
    assert not [secret for secret in secrets if secret in sidecar]  # it names files, which belong to whoever has the images
    secrets += ["doessel", "janette", "19700423", "55667788"]
    for path in (p for p in (tmp_path / "out").rglob("*") if p.suffix not in (".json", ".dcm")):
        content = str(path.relative_to(tmp_path)).encode()
        if path.is_file():
            content += path.read_bytes()
            with Image.open(path) if path.suffix == ".png" else path.open("rb") as opened:
                content += repr(getattr(opened, "info", "")).encode()
        if path.suffix == ".gz":
            image = nibabel.load(path)
            content += image.header.binaryblock + repr(image.header.extensions).encode()
        for secret in secrets:
            assert secret.encode() not in content.lower(), (path.name, secret)


def test_a_zip_gives_the_mask_of_its_folder(bundle: Bundle, tmp_path: Path) -> None:
    series = write_series(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "sent.zip", "w") as archive:
        for path in series.iterdir():
            archive.write(path, f"DICOM/{path.name}")
    for source, out in ((series, "a"), (tmp_path / "sent.zip", "b")):
        assert main(["predict", str(bundle.path), str(source), "-o", str(tmp_path / out)]) == 0
    a, b = (tmp_path / out / "series4_12345678" for out in "ab")
    assert (a / "mask.nii.gz").read_bytes() == (b / "mask.nii.gz").read_bytes()


def test_one_bad_input_among_good_ones_is_one_line_and_exit_2(bundle: Bundle, tmp_path: Path, capsys) -> None:
    good = [save_nifti(tmp_path / "in" / f"{name}.nii.gz", hounsfield(seed)) for seed, name in enumerate("ab")]
    bad = tmp_path / "in" / "cut.nii.gz"
    bad.write_bytes(good[0].read_bytes()[:300])
    assert main(["predict", str(bundle.path), str(good[0]), str(bad), str(good[1]), "-o", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert [line for line in printed.out.splitlines() if not line.startswith(" ")] == [str(tmp_path / "out" / n) for n in "ab"]
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.err.startswith(f"unet: {bad}: ")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b"]


def test_two_inputs_of_one_name_do_not_overwrite_each_other(bundle: Bundle, tmp_path: Path, capsys) -> None:
    first, second = (save_nifti(tmp_path / ward / "scan.nii.gz", hounsfield(seed)) for seed, ward in enumerate(("a", "b")))
    assert main(["predict", str(bundle.path), str(first), str(second), "-o", str(tmp_path / "out")]) == 2
    assert f"{second}: would overwrite the mask of {first}" in capsys.readouterr().err
    kept = mask_of(tmp_path / "out" / "scan")
    assert main(["predict", str(bundle.path), str(first), "-o", str(tmp_path / "again")]) == 0
    np.testing.assert_array_equal(kept, mask_of(tmp_path / "again" / "scan"))


def test_a_folder_of_somebody_else_is_left_alone(bundle: Bundle, tmp_path: Path, capsys) -> None:
    path = save_nifti(tmp_path / "scan.nii.gz", hounsfield())
    (tmp_path / "out" / "scan").mkdir(parents=True)
    (tmp_path / "out" / "scan" / "thesis.docx").write_text("mine")
    assert main(["predict", str(bundle.path), str(path), "-o", str(tmp_path / "out")]) == 2
    assert "holds something else than a prediction: thesis.docx" in capsys.readouterr().err
    assert [entry.name for entry in (tmp_path / "out" / "scan").iterdir()] == ["thesis.docx"]


def test_of_several_series_one_must_be_named(bundle: Bundle, tmp_path: Path, capsys) -> None:
    write_series(tmp_path / "study" / "a", SeriesNumber=3)
    write_series(tmp_path / "study" / "b", SeriesNumber=7, series="1.2.3.87654321", seed=1)
    words = ["predict", str(bundle.path), str(tmp_path / "study"), "-o", str(tmp_path / "out")]
    assert main(words) == 2
    assert "Name one with --series" in capsys.readouterr().err
    assert main([*words, "--series", "7"]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["series7_87654321"]


def test_an_mr_series_is_refused_by_a_ct_bundle(bundle: Bundle, tmp_path: Path, capsys) -> None:
    series = write_series(tmp_path / "mr", Modality="MR", SOPClassUID=MR)
    assert main(["predict", str(bundle.path), str(series), "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error == f"unet: {series}: the modality is MR, the bundle was trained on CT. Choose a bundle for this modality.\n"
    assert not (tmp_path / "out").exists()


def test_a_picture_gives_a_mask_picture_of_its_size_in_pixels(tmp_path: Path, capsys) -> None:
    bundle = thresholding_bundle(tmp_path, table=label_table({"membrane": 255}), plane="stored", modality="picture", at=127)
    grey = np.random.default_rng(0).integers(0, 256, (40, 60)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "cells.png")
    assert main(["predict", str(bundle.path), str(tmp_path / "cells.png"), "-o", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out/cells/mask.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), np.where(grey > 127, 255, 0))
    printed = capsys.readouterr().out
    assert f"membrane: {(grey > 127).sum()} pixels" in printed
    assert " ml" not in printed + (tmp_path / "out/cells/mask.json").read_text()


def test_a_slice_that_does_not_say_how_thick_it_is_gets_no_ml(bundle: Bundle, tmp_path: Path, capsys) -> None:
    series = save(volume_datasets(noise(1, 24, 28) // 8 + 900, SliceThickness=None), tmp_path / "one")
    assert main(["predict", str(bundle.path), str(series), "-o", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.rsplit(" ", 1)[1] for line in lines[1:3]] == ["pixels", "pixels"]
    said = json.loads((tmp_path / "out/series4_11111111/mask.json").read_text())
    assert [volume["ml"] for volume in said["volumes"]] == [None, None]


def test_the_mask_of_a_tilted_series_opens_everywhere_and_is_said_to_be_resampled(tmp_path: Path, capsys) -> None:
    bundle = thresholding_bundle(tmp_path, table=label_table({"background": 9, "organ": 3}), modality="CT", at=500)
    series = save(volume_datasets(noise(6, 24, 28), step=(0, 1.0, 4.0)), tmp_path / "tilted")
    assert main(["predict", str(bundle.path), str(series), "-o", str(tmp_path / "out")]) == 0
    assert "note: series4_11111111: the slices are sheared" in capsys.readouterr().out
    folder = tmp_path / "out/series4_11111111"
    said = json.loads((folder / "mask.json").read_text())
    assert "mask-resampled" in [notice["code"] for notice in said["notices"]]
    assert said["image"]["geometry"] == "sheared"
    mask = mask_of(folder)
    assert list(mask.shape) == said["mask_shape"] == [28, 34, 6]  # 0.5 mm pixels: 5 steps of 1 mm are 10 of them
    assert (mask == 3).sum() == (noise(6, 24, 28) - 1000 > 500).sum() == said["volumes"][0]["voxels"]
    assert sitk.ReadImage(str(folder / "mask.nii.gz")).GetSize() == mask.shape


def frames_upwards(path: Path) -> np.ndarray:
    """(frames, rows, columns) of a SEG of one structure, by their height."""
    dataset = dcmread(path)
    heights = [float(g.PlanePositionSequence[0].ImagePositionPatient[2]) for g in dataset.PerFrameFunctionalGroupsSequence]
    return dataset.pixel_array[np.argsort(heights)]


def test_all_formats_come_from_one_command_and_hold_one_mask(tmp_path: Path, capsys) -> None:
    bundle = thresholding_bundle(tmp_path, table=label_table({"Tumör": 3}), modality="CT", at=500)
    series = save(volume_datasets(noise(6, 24, 28), step=(0, 1.0, 4.0)), tmp_path / "tilted")
    words = ["predict", str(bundle.path), str(series), "--rtstruct", "--slicer", "--itksnap", "-o", str(tmp_path / "out")]
    words += ["--probabilities", "--uncertainty"]
    assert main(words) == 0
    folder = tmp_path / "out/series4_11111111"
    files = [
        "mask.json",
        "mask.labels.txt",
        "mask.nii.gz",
        "mask.rtstruct.dcm",
        "mask.seg.dcm",
        "mask.seg.nrrd",
        "overlay.png",
        "probabilities.nii.gz",
        "report.html",
        "uncertainty.nii.gz",
    ]
    assert sorted(path.name for path in folder.iterdir()) == files
    inside = noise(6, 24, 28) - 1000 > 500  # (slices, rows, columns): what this network finds
    np.testing.assert_array_equal(
        frames_upwards(folder / "mask.seg.dcm"), inside
    )  # exact on the tilted slices, though the NIfTI had to be resampled
    assert (sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "mask.seg.nrrd"))) == 3).sum() == inside.sum()
    assert dcmread(folder / "mask.rtstruct.dcm").StructureSetROISequence[0].ROIName == "Tumör"
    assert main(words) == 2
    assert "a prediction of this name is there already. Add --overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--no-seg"]) == 0
    assert not (folder / "mask.seg.dcm").exists()  # the folder is the new prediction's, nothing of the old one stays


@pytest.mark.parametrize("overlapping", [False, True])
def test_only_the_structures_asked_for_are_handed_out_as_they_are_in_the_whole_mask(
    overlapping: bool, tmp_path: Path, capsys
) -> None:
    table = label_table({"organ": 1, "lesion": 2}, overlapping=overlapping)
    network = {"head": "sigmoid" if overlapping else "softmax"}
    bundle = make_bundle(tmp_path / "made", table=table, network=network)
    image = save_nifti(tmp_path / "scan.nii", hounsfield())
    words = ["predict", str(bundle.path), str(image), "-o"]
    assert main([*words, str(tmp_path / "all")]) == main([*words, str(tmp_path / "some"), "--only", "lesion"]) == 0
    whole, some = (mask_of(tmp_path / name / "scan") for name in ("all", "some"))
    expected = whole[..., 1] if overlapping else np.where(whole == 2, 2, 0)
    assert expected.any() and np.array_equal(some, expected)
    said = json.loads((tmp_path / "some" / "scan" / "mask.json").read_text(encoding="utf-8"))
    assert [(s["name"], s["value"]) for s in said["labels"]["structures"]] == [("lesion", expected.max())]
    assert [found["voxels"] for found in said["volumes"]] == [np.count_nonzero(expected)]
    assert capsys.readouterr().out.count("organ") == 1
    assert main([*words, str(tmp_path / "none"), "--only", "leson"]) == 2
    assert "unet: --only: 'leson' is not a structure of this bundle (did you mean lesion?)" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("option", ["--seg", "--rtstruct"])
def test_dicom_formats_of_a_nifti_file_are_refused_in_one_line(option: str, bundle: Bundle, tmp_path: Path, capsys) -> None:
    path = save_nifti(tmp_path / "scan.nii.gz", hounsfield())
    assert main(["predict", str(bundle.path), str(path), option, "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"unet: {path}: {option} needs a DICOM series to refer to. Leave it out.\n"
    assert not (tmp_path / "out").exists()


def test_slicer_of_a_picture_and_itksnap_of_overlapping_structures_are_refused(tmp_path: Path, capsys) -> None:
    table = label_table({"whole": 1, "core": 2}, overlapping=True)
    bundle = thresholding_bundle(tmp_path, table=table, head="sigmoid", plane="stored", modality="picture", at=127)
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(tmp_path / "cells.png")
    for option, why in (("--slicer", "needs a place in mm"), ("--itksnap", "cannot hold structures that overlap")):
        assert main(["predict", str(bundle.path), str(tmp_path / "cells.png"), option, "-o", str(tmp_path / "out")]) == 2
        assert f"{option} {why}" in capsys.readouterr().err


def test_a_series_with_a_hole_is_segmented_where_the_user_accepts_it_and_every_output_says_so(tmp_path: Path, capsys) -> None:
    bundle = thresholding_bundle(tmp_path, modality="CT", at=500)
    datasets = volume_datasets(noise(6, 24, 28))
    series = save([*datasets[:2], *datasets[3:]], tmp_path / "hole")
    words = ["predict", str(bundle.path), str(series), "--slicer", "-o", str(tmp_path / "out")]
    assert main(words) == 2
    assert "--accept-irregular" in capsys.readouterr().err
    assert main([*words, "--accept-irregular"]) == 0
    assert "note: resampled: slices are missing" in capsys.readouterr().out
    folder = tmp_path / "out/series4_11111111"
    assert json.loads((folder / "mask.json").read_text())["resampled"] == ["evened"]
    assert sitk.ReadImage(str(folder / "mask.seg.nrrd")).GetMetaData("unet_resampled") == "evened"
    inside = np.delete(noise(6, 24, 28), 2, axis=0) - 1000 > 500
    np.testing.assert_array_equal(frames_upwards(folder / "mask.seg.dcm"), inside)


BOMB = "import pathlib; pathlib.Path({!r}).touch()\n"


class PickleBomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_nothing_that_lies_in_a_bundle_is_executed(bundle: Bundle, unet, tmp_path: Path) -> None:
    armed = tmp_path / "armed"
    shutil.copytree(bundle.path, armed)
    for file in [
        *armed.rglob("*.py"),
        armed / "scripts.py",
        armed / "sitecustomize.py",
        armed / "unet_runtime" / "conftest.py",
    ]:
        file.write_text(BOMB.format(str(tmp_path / "python-ran")))
    (armed / "models" / "model.pt").write_bytes(pickle.dumps(PickleBomb(tmp_path / "pickle-ran")))
    config = json.loads((armed / "configs/inference.json").read_text())
    config["imports"] = [f"$open({str(tmp_path / 'config-ran')!r}, 'w')"]
    (armed / "configs/inference.json").write_text(json.dumps(config))
    path = save_nifti(tmp_path / "scan.nii.gz", hounsfield())
    done = unet("predict", armed, path, "-o", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("*-ran"))
    assert main(["predict", str(bundle.path), str(path), "-o", str(tmp_path / "good")]) == 0
    np.testing.assert_array_equal(mask_of(tmp_path / "out/scan"), mask_of(tmp_path / "good/scan"))


def test_predicting_loads_neither_monai_nor_mlflow(bundle: Bundle, tmp_path: Path) -> None:
    series = write_series(tmp_path / "in")
    code = (
        "import sys; from pipeline.cli.main import main\n"
        f"code = main(['predict', {str(bundle.path)!r}, {str(series)!r}, '--no-seg', '-o', {str(tmp_path / 'out')!r}])\n"
        "print(code, [name for name in ('monai', 'mlflow', 'ignite', 'matplotlib', 'highdicom') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


@pytest.mark.parametrize("earlier", [False, True])
def test_killed_while_it_writes_nothing_looks_finished(earlier: bool, bundle: Bundle, tmp_path: Path) -> None:
    large = np.random.default_rng(0).normal(50, 150, (192, 192, 60)).astype(np.int16)
    path, out = save_nifti(tmp_path / "scan.nii.gz", large), tmp_path / "out"
    if earlier:
        assert main(["predict", str(bundle.path), str(path), "-o", str(out)]) == 0
    before = {p.name: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "predict", str(bundle.path), str(path), "-o", str(out), "--overwrite"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 100
    while not list(out.glob(".scan.*.part/*")):
        assert process.poll() is None and time.monotonic() < deadline, "the writing was over before it could be stopped"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    shown = [entry for entry in out.iterdir() if not entry.name.startswith(".")]
    assert [entry.name for entry in shown] == (["scan"] if earlier else [])
    assert {p.name: p.read_bytes() for entry in shown for p in entry.iterdir()} == before


def test_a_wrong_bundle_is_one_line_before_anything_is_read(unet, tmp_path: Path) -> None:
    done = unet("predict", tmp_path, "scan.nii.gz", "-o", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"unet: {tmp_path}: is not a bundle")
    assert len(done.stderr.splitlines()) == 1


def test_real_tilted_series_are_segmented_on_a_right_angled_grid(shared: Path, bundle: Bundle, tmp_path: Path) -> None:
    cases = [shared / "dicom" / name for name in ("ct_tilt_philips", "ct_tilt_siemens_no_tag")]
    assert main(["predict", str(bundle.path), *map(str, cases), "-o", str(tmp_path)]) == 0
    folders = [entry for entry in tmp_path.iterdir() if entry.is_dir()]
    assert len(folders) == 2
    for folder in folders:
        axes = nibabel.load(folder / "mask.nii.gz").affine[:3, :3]
        cosines = (axes / np.linalg.norm(axes, axis=0)).T @ (axes / np.linalg.norm(axes, axis=0))
        np.testing.assert_allclose(cosines, np.eye(3), atol=1e-4)
        assert sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "mask.nii.gz"))).T.shape == mask_of(folder).shape
        codes = [notice["code"] for notice in json.loads((folder / "mask.json").read_text())["notices"]]
        assert "mask-resampled" in codes


def test_many_inputs_are_told_of_in_their_order_the_failed_among_them(bundle: Bundle, tmp_path: Path, capsys) -> None:
    names = [f"scan{number}" for number in range(5)]
    files = [save_nifti(tmp_path / f"{name}.nii.gz", hounsfield(number)) for number, name in enumerate(names)]
    files[2].write_bytes(b"no NIfTI")
    (tmp_path / "out" / "scan3").mkdir(parents=True)
    (tmp_path / "out" / "scan3" / "notes.txt").write_text("mine")
    assert main(["predict", str(bundle.path), *map(str, files), "-o", str(tmp_path / "out"), "--no-page"]) == 2
    out, err = capsys.readouterr()
    assert [Path(line).name for line in out.splitlines() if not line.startswith(" ")] == ["scan0", "scan1", "scan4"]
    first, second = err.strip().splitlines()
    assert "scan2" in first and "scan3" in second
    alone = tmp_path / "alone"
    for number in (0, 1, 4):  # each as it is when nothing is written beside it
        assert main(["predict", str(bundle.path), str(files[number]), "-o", str(alone), "--no-page", "--max-ram", "64G"]) == 0
        np.testing.assert_array_equal(mask_of(tmp_path / "out" / names[number]), mask_of(alone / names[number]))
