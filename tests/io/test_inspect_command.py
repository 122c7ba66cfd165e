"""`unet inspect`: says what is there, and takes or refuses exactly what the reader does."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from made_series import MR, noise, save, slice_dataset, volume_datasets
from PIL import Image

from pipeline.cli.main import main
from pipeline.errors import UserError
from pipeline.io.inspect import inspect
from pipeline.io.read import read_volume

ROOT = Path(__file__).resolve().parents[2]
OTHER = "1.2.826.0.1.3680043.8.498.22222222"


def typed(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["inspect", *map(str, words)])
    return code, *capsys.readouterr()


def a_study(folder: Path) -> Path:
    """A CT, an MR of two echoes, a localizer, a capture and a text file."""
    save(volume_datasets(noise(), SeriesDescription="venous"), folder / "ct")
    mr = {"series": OTHER, "Modality": "MR", "SOPClassUID": MR, "SeriesNumber": 7, "RescaleIntercept": 0}
    echoes = volume_datasets(noise(4), EchoTime=10, **mr) + volume_datasets(noise(4, seed=1), EchoTime=90, **mr)
    for number, dataset in enumerate(echoes):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{OTHER}.{number}"
    save(echoes, folder / "mr")
    plain = noise(1)[0]
    scout = slice_dataset(plain, (0, 0, 0), series="1.2.3.33333333", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    capture = slice_dataset(plain, (0, 0, 0), series="1.2.3.44444444", SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    save([scout, capture], folder / "rest", names=["scout", "capture"])
    (folder / "notes.txt").write_text("mine")
    return folder


def test_a_study_is_counted_listed_and_told_how_to_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = a_study(tmp_path / "study")
    code, out, err = typed(capsys, study)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == f"{study}: 1 patient, 1 study, 4 series, 3 volumes, 3 set aside"
    rows = [re.split(r"  +", line.strip()) for line in lines[2:6]]
    assert rows[0] == [
        "series",
        "UID ends",
        "description",
        "type",
        "volume",
        "voxels",
        "mm",
        "plane",
        "geometry",
        "off mm",
        "named by",
    ]
    assert rows[1] == ["4", "11111111", "venous", "CT", "8x6x5", "0.75x0.5x3", "axial", "regular", "0.000", "--series 4"]
    assert rows[2][:4] == ["7", "22222222", "MR", "TE 10"] and rows[2][-1] == "--series 7 --volume 'TE 10'"
    assert rows[3][-1] == "--series 7 --volume 'TE 90'"
    assert "  1 x localizer: scout" in lines and "  1 x not DICOM: notes.txt" in lines
    assert lines[-1] == f"  unet predict BUNDLE {study} -o OUT --series 4"


def test_the_words_of_each_row_read_that_row_and_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = a_study(tmp_path / "study")
    rows = json.loads(typed(capsys, study, "--json")[1])["volumes"]
    arrays = []
    for number, row in enumerate(rows):
        assert main(["convert", str(study), str(tmp_path / f"{number}.nii"), *row["words"]]) == 0
        arrays.append(np.asanyarray(nibabel.load(tmp_path / f"{number}.nii").dataobj))
        assert list(arrays[-1].shape) == row["size"]
        capsys.readouterr()
        seen = json.loads(typed(capsys, study, *row["words"], "--json")[1])
        assert (seen["taken"], seen["refusal"]) == (number, None)
    np.testing.assert_array_equal(arrays[1], noise(4).transpose(2, 1, 0))
    np.testing.assert_array_equal(arrays[2], noise(4, seed=1).transpose(2, 1, 0))


def test_two_series_of_one_number_are_told_apart_by_their_uid(tmp_path: Path) -> None:
    save(volume_datasets(noise()), tmp_path / "a")
    save(volume_datasets(noise(), series=OTHER), tmp_path / "b")
    assert [row.words for row in inspect(tmp_path).rows] == [("--series", "11111111"), ("--series", "22222222")]


def test_holes_and_uneven_distances_are_classed_and_measured(tmp_path: Path) -> None:
    places = {"gapped": [0, 3, 6, 12, 15], "irregular": [0, 3, 7, 12, 13.5], "regular": [0, 3, 6.04, 9, 12]}
    off_mm = {"gapped": 1.2, "irregular": 1.3, "regular": 0.032}  # by hand: from the straight line of least squares
    for kind, heights in places.items():
        slices = [slice_dataset(p, (0, 0, z), number=k + 1) for k, (p, z) in enumerate(zip(noise(), heights, strict=True))]
        (row,) = inspect(save(slices, tmp_path / kind)).rows
        assert (row.geometry, row.residual_mm) == (kind, pytest.approx(off_mm[kind], abs=1e-6))
    (row,) = inspect(save(volume_datasets(noise(), step=(0, 1, 3)), tmp_path / "sheared")).rows
    assert (row.geometry, row.residual_mm, row.fault) == ("sheared", pytest.approx(0, abs=1e-6), "")


def test_a_faulty_stack_shows_why_and_what_would_help(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save([d for k, d in enumerate(volume_datasets(noise())) if k != 2], tmp_path / "hole")
    code, out, err = typed(capsys, folder)
    assert code == 2 and err.count("\n") == 1
    assert err.startswith(f"unet: {folder}: slices are missing: 6.00 mm between 002.dcm and 003.dcm (1 missing)")
    assert "series 4 (11111111) is not read: slices are missing: 6.00 mm between 002.dcm and 003.dcm" in out
    assert out.splitlines()[-1] == f"  unet predict BUNDLE {folder} -o OUT --accept-irregular"
    code, out, err = typed(capsys, folder, "--accept-irregular")
    assert (code, err) == (0, "") and "note: resampled: slices are missing" in out and "> " in out


def test_damaged_pixels_show_although_the_headers_are_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    datasets = volume_datasets(noise())
    datasets[2].PixelData = datasets[2].PixelData[:-10]
    folder = save(datasets, tmp_path / "series")
    code, out, _ = typed(capsys, folder)
    assert code == 2 and "is not read: 003.dcm: the pixels are truncated: 86 of 96 bytes" in out
    code, out, _ = typed(capsys, folder, "--headers")
    assert code == 0 and "takes series 11111111: the only volume; its pixels were not tried" in out


def test_a_folder_without_dicom_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("mine")
    (tmp_path / "texts" / "b.dcm").write_bytes(b"")
    for folder, what in (("empty", "no file at all"), ("texts", "1 x empty file, 1 x not DICOM")):
        assert typed(capsys, tmp_path / folder) == (
            2,
            "",
            f"unet: {tmp_path / folder}: there is no image volume: {what}. Point at a CT or MR series.\n",
        )


def test_a_folder_of_other_dicom_is_listed_and_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = slice_dataset(noise(1)[0], (0, 0, 0), SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    code, out, err = typed(capsys, save([capture], tmp_path / "a"))
    assert code == 2 and "1 series, 0 volumes, 1 set aside" in out and "there is no image volume: 1 x secondary" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--series", "9"], "there is no series '9'"),
        (["--series", "7", "--volume", "TE 11"], "there is no volume 'TE 11' (did you mean TE 10?)"),
        (["--picture", "planes.jpg", "--series", "4"], "'planes.jpg' does not end in .png"),
        (["--picture", "planes.png", "--headers"], "a picture needs the pixels"),
        (["--picture", "planes.png"], "there are 3 volumes in 2 series"),
    ],
)
def test_words_that_fit_nothing_are_one_line(words: list[str], said: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = typed(capsys, a_study(tmp_path / "study"), *words)
    assert code == 2 and err.count("\n") == 1 and said in err
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


PATIENT = {"PatientName": "Doessel^Janette", "PatientID": "PAT-4711", "PatientBirthDate": "19700423", "StudyDate": "20240229"}


def test_nothing_of_the_patient_is_said_not_even_from_an_archives_folders(tmp_path: Path, capsys, monkeypatch) -> None:
    uid = "1.2.826.0.1.3680043.8.498.55667788.12345678"
    datasets = volume_datasets(noise(), series=uid, SeriesDescription="CT of JANETTE", **PATIENT)
    folder = save([*datasets, datasets[0]], tmp_path / "in" / "PAT-4711 Doessel Janette" / "20240229")
    (folder / "cut.dcm").write_bytes((folder / "001.dcm").read_bytes()[:500])
    (folder / "notes.txt").write_text("mine")
    with zipfile.ZipFile(tmp_path / "sent.zip", "w") as archive:
        for path in sorted((tmp_path / "in").rglob("*")):
            archive.write(path, path.relative_to(tmp_path / "in"))
    monkeypatch.chdir(tmp_path)
    said = "".join(
        "".join(map(str, typed(capsys, "sent.zip", *more))) for more in ([], ["--json"], ["--picture", "planes.png"])
    )
    assert "cut.dcm" in said and "notes.txt" in said
    with Image.open(tmp_path / "planes.png") as picture:
        said += str(picture.info)
    for secret in ("doessel", "janette", "4711", "19700423", "20240229", "55667788"):
        assert secret not in said.lower(), secret


def test_texts_and_names_of_files_give_no_commands_to_the_terminal(tmp_path: Path, capsys) -> None:
    hostile = "\x1b]0;owned\x07\x1b[31mred"
    names = [f"{number}\x1b[2J.dcm" for number in range(4)]
    datasets = [d for k, d in enumerate(volume_datasets(noise(), SeriesDescription=hostile)) if k != 2]
    folder = save(datasets, tmp_path / "series", names=names)
    (folder / os.fsdecode(b"not utf-8 \xff")).write_text("mine")
    code, out, err = typed(capsys, folder)
    assert code == 2 and "owned" in out and "1?[2J.dcm and 2?[2J.dcm" in out and "1?[2J.dcm and 2?[2J.dcm" in err
    assert all(c.isprintable() or c == "\n" for c in out + err)
    typed(capsys, folder, "--json")[1].encode("ascii")


def test_the_documented_keys_are_those_of_the_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = json.loads(typed(capsys, a_study(tmp_path / "study"), "--json")[1])
    page = (ROOT / "docs" / "inspect.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?) \|", page.partition("## `--json`")[2], re.MULTILINE)
    named = {key for row in rows for key in re.findall(r"`(?:volumes\[\]\.)?(\w+)`", row)}
    assert named == set(seen) | set(seen["volumes"][0])
    assert set(seen["set_aside"][0]) == {"why", "count", "files"}


def test_files_that_are_no_dicom_are_looked_at_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6, 2), dtype=np.int16), np.diag([1, 1, 2, 1])), tmp_path / "a b.nii")
    code, out, _ = typed(capsys, tmp_path / "a b.nii")
    assert code == 0 and "4x5x6x2" in out and out.splitlines()[-1] == f"  unet convert '{tmp_path}/a b.nii' OUT.nii.gz"
    Image.fromarray(np.zeros((3, 4), dtype=np.uint8)).save(tmp_path / "a.png")
    code, out, _ = typed(capsys, tmp_path / "a.png")
    assert code == 0 and out.splitlines()[-1].endswith("OUT.nii.gz --pixel-size MM")


def test_on_real_cases_the_reader_takes_and_refuses_the_same(shared: Path) -> None:
    cases = json.loads((shared / "dicom" / "cases.json").read_text(encoding="utf-8"))
    for case in cases:
        folder = shared / "dicom" / case["folder"]
        try:
            seen = inspect(folder)
            refusal = seen.refusal
        except UserError as error:  # not even one DICOM file
            seen, refusal = None, error
        try:
            volume = read_volume(folder)
        except UserError as error:
            assert str(refusal) == str(error), case["case"]
            assert case["expect"] in ("refuse", "choose")
        else:
            assert seen is not None and seen.volume is not None and seen.taken is not None, case["case"]
            np.testing.assert_array_equal(seen.volume.array, volume.array)
            assert seen.taken.geometry == ("sheared" if case["expect"] == "regrid" else "regular")
        if case["expect"] == "choose":
            assert seen is not None and seen.usable and len(seen.rows) == len(case["volumes"])
            for row in seen.rows:
                words = dict(zip(row.words[::2], row.words[1::2], strict=True)) if row.words else {}
                taken = inspect(folder, series=words.get("--series", ""), volume=words.get("--volume", "")).taken
                assert taken is not None and taken.words == row.words, shlex.join(row.words or ())


def test_a_series_of_many_volumes_is_listed_in_seconds(tmp_path: Path) -> None:
    """Short stacks may be localizers: finding out must not try every three of them."""
    datasets = []
    for time_point in range(150):
        datasets += volume_datasets(noise(2, 4, 4), TemporalPositionIdentifier=time_point + 1)
        for k in (-2, -1):
            uid = f"1.2.3.4.{time_point}.{k + 3}"
            datasets[k].SOPInstanceUID = datasets[k].file_meta.MediaStorageSOPInstanceUID = uid
    save(datasets, tmp_path / "series")
    start = time.monotonic()
    rows = inspect(tmp_path / "series").rows
    assert time.monotonic() - start < 10
    assert [row.words for row in rows] == [("--series", "4", "--volume", f"time {k + 1}") for k in range(150)]
