"""`unet cohort` in one process: what is listed, done, failed, done again, and told at the end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from made_cohorts import FIRST, masks_of, name_of, records_of, save_nifti, table_of, write_list, write_series
from made_runs import thresholding_bundle
from made_series import noise, save, volume_datasets

from pipeline.bundle.bundle import Bundle
from pipeline.cli.main import main
from pipeline.inference.prediction import Prediction
from pipeline.inference.predictor import Predictor
from pipeline.io.volume import Volume

Cohort = Callable[..., tuple[int, str, str]]
NAMES = [name_of(number) for number in range(1, 10)]


def test_a_tree_gives_what_predict_gives_for_each_of_its_series(cohort: Cohort, bundle: Bundle, tmp_path: Path) -> None:
    series = [write_series(tmp_path / "in", number) for number in (1, 2)]
    image = save_nifti(tmp_path / "in" / "deep" / "scan.nii.gz", noise(3, 20, 20, seed=9).astype(np.int16))
    code, out, _ = cohort(tmp_path / "in", "-o", tmp_path / "out", "--slicer")
    assert code == 0 and out.startswith("3 of 3 series done\n")
    words = [*map(str, series), str(image)]
    assert main(["predict", str(bundle.path), *words, "-o", str(tmp_path / "one"), "--slicer"]) == 0
    assert set(masks_of(tmp_path / "out")) == {*NAMES[:2], "scan"}
    assert masks_of(tmp_path / "out") == masks_of(tmp_path / "one")
    for name in (*NAMES[:2], "scan"):
        files = [{path.name for path in (tmp_path / out / name).iterdir()} for out in ("out", "one")]
        assert files[0] == files[1]


def test_series_side_by_side_in_one_folder_are_each_read_from_their_own_files(cohort: Cohort, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        datasets = volume_datasets(noise(3, 20, 20, seed=number), series=f"1.2.3.{FIRST + number}")
        save(datasets, tmp_path / "flat", names=[f"{number}{k}.dcm" for k in range(3)])
    whole = (tmp_path / "flat" / "30.dcm").read_bytes()
    (tmp_path / "flat" / "39.dcm").write_bytes(whole[:400])
    assert cohort(tmp_path / "flat", "-o", tmp_path / "out")[0] == 0
    for number, name in enumerate(NAMES[:3], start=1):
        mask = np.asarray(nibabel.load(tmp_path / "out" / name / "mask.nii.gz").dataobj)
        inside = noise(3, 20, 20, seed=number) - 1000 > 1000
        np.testing.assert_array_equal(mask.transpose(2, 1, 0) > 0, inside)
        assert "files-broken" in table_of(tmp_path / "out")[name]["notices"]


def test_what_is_done_is_not_done_again_and_a_removed_mask_is(cohort: Cohort, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write_series(tmp_path / "in", number)
    words = (tmp_path / "in", "-o", tmp_path / "out")
    assert cohort(*words)[0] == 0
    files = [tmp_path / "out" / name / "mask.nii.gz" for name in NAMES[:3]]
    before = [file.stat().st_ino for file in files]
    files[1].unlink()
    code, out, _ = cohort(*words)
    assert code == 0 and out.startswith("3 of 3 series done, 2 of them before\n")
    assert [file.stat().st_ino == inode for file, inode in zip(files, before, strict=True)] == [True, False, True]


def test_another_bundle_or_setting_does_everything_anew(cohort: Cohort, tmp_path: Path) -> None:
    write_series(tmp_path / "in", 1)
    words = (tmp_path / "in", "-o", tmp_path / "out")
    cohort(*words)
    low = masks_of(tmp_path / "out")
    assert cohort(*words, "--no-seg")[1].startswith("1 of 1 series done\n")
    assert not (tmp_path / "out" / NAMES[0] / "mask.seg.dcm").exists()
    other = thresholding_bundle(tmp_path / "other", at=2000.0, modality="CT")
    assert main(["cohort", str(other.path), *map(str, words)]) == 0
    assert masks_of(tmp_path / "out") != low and len(records_of(tmp_path / "out")) == 1
    assert table_of(tmp_path / "out")[NAMES[0]]["bundle_sha256"] == other.digest


def test_slices_that_arrive_later_make_the_series_anew(cohort: Cohort, tmp_path: Path) -> None:
    datasets = volume_datasets(noise(4, 20, 20))
    save(datasets[:3], tmp_path / "in")
    cohort(tmp_path / "in", "-o", tmp_path / "out")
    save(datasets, tmp_path / "in")
    assert cohort(tmp_path / "in", "-o", tmp_path / "out")[1].startswith("1 of 1 series done\n")
    assert nibabel.load(tmp_path / "out" / "series4_11111111" / "mask.nii.gz").shape == (20, 20, 4)
    assert len(records_of(tmp_path / "out")) == 1


def test_failures_are_a_line_each_stop_nothing_and_are_tried_again(cohort: Cohort, tmp_path: Path) -> None:
    write_series(tmp_path, 1)
    write_series(tmp_path, 2, Modality="MR")
    cut = save_nifti(tmp_path / "cut.nii.gz", noise(3, 20, 20).astype(np.int16))
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    rows = [["s2"], ["Doe^Jane/absent"], ["cut.nii.gz"], ["s1"], ["s1/"]]
    listed = write_list(tmp_path / "list.csv", rows)
    code, out, err = cohort(listed, "-o", tmp_path / "out")
    assert code == 2 and out.startswith("1 of 5 series done, 4 failed\n")
    lines = err.strip().splitlines()
    assert len(lines) == 4 and all(line.startswith("unet: ") for line in lines)
    reasons = {name: row["reason"] for name, row in table_of(tmp_path / "out").items()}
    assert "trained on CT" in reasons[NAMES[1]]
    assert "no such file" in reasons["line_3"]
    assert "cut off" in reasons["cut"]
    assert any("listed before" in reason for reason in reasons.values())
    assert "Jane" not in str([path.name for path in (tmp_path / "out").rglob("*")])
    cut.write_bytes(whole)
    write_series(tmp_path, 3)
    (tmp_path / "s3").rename(tmp_path / "absent")
    write_list(tmp_path / "list.csv", [["s2"], ["absent"], ["cut.nii.gz"], ["s1"]])
    code, out, _ = cohort(listed, "-o", tmp_path / "out")
    assert code == 2 and out.startswith("3 of 4 series done, 1 of them before, 1 failed\n")
    assert set(table_of(tmp_path / "out")) == {NAMES[0], NAMES[1], NAMES[2], "cut"}


def test_a_place_that_is_filled_later_is_no_longer_a_failure(cohort: Cohort, tmp_path: Path) -> None:
    listed = write_list(tmp_path / "list.csv", [["s1"]])
    assert cohort(listed, "-o", tmp_path / "out")[0] == 2
    write_series(tmp_path, 1)
    assert cohort(listed, "-o", tmp_path / "out")[0] == 0
    assert {name: row["state"] for name, row in table_of(tmp_path / "out").items()} == {NAMES[0]: "done"}


def test_a_bug_is_recorded_with_its_traceback_and_the_rest_goes_on(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        write_series(tmp_path / "in", number)
    whole = Predictor.predict

    def faulty(self: Predictor, source: Volume, **words: object) -> Prediction:
        return whole(self, source, **words) if source.source.short_name != NAMES[0] else 1 / 0

    monkeypatch.setattr(Predictor, "predict", faulty)
    code, out, err = cohort(tmp_path / "in", "-o", tmp_path / "out")
    assert (code, out.splitlines()[0]) == (1, "1 of 2 series done, 1 failed")
    row = table_of(tmp_path / "out")[NAMES[0]]
    assert (row["state"], row["reason"]) == ("failed", "ZeroDivisionError: division by zero")
    assert err == f"unet: {NAMES[0]}: {row['reason']}\n"
    logs = list((tmp_path / "out" / ".units").glob("*.log"))
    assert len(logs) == 1 and "in faulty" in logs[0].read_text()
    monkeypatch.undo()
    assert cohort(tmp_path / "in", "-o", tmp_path / "out")[0] == 0
    assert not list((tmp_path / "out" / ".units").glob("*.log"))


def test_files_of_somebody_else_are_left_alone(cohort: Cohort, tmp_path: Path) -> None:
    write_series(tmp_path / "in", 1)
    (tmp_path / "out" / NAMES[0]).mkdir(parents=True)
    (tmp_path / "out" / NAMES[0] / "thesis.docx").write_text("mine")
    code, _, err = cohort(tmp_path / "in", "-o", tmp_path / "out")
    assert code == 2 and "thesis.docx" in err
    assert [path.name for path in (tmp_path / "out" / NAMES[0]).iterdir()] == ["thesis.docx"]


def test_a_prediction_that_the_cohort_did_not_make_is_left_alone(cohort: Cohort, bundle: Bundle, tmp_path: Path) -> None:
    series = write_series(tmp_path / "in", 1)
    words = ("-o", str(tmp_path / "out"))
    assert main(["predict", str(bundle.path), str(series), *words, "--no-seg"]) == 0
    mask = tmp_path / "out" / NAMES[0] / "mask.nii.gz"
    mask.write_bytes(b"corrected by hand")
    code, _, err = cohort(tmp_path / "in", *words)
    assert code == 2 and "not of this cohort" in err and mask.read_bytes() == b"corrected by hand"
    for more in ((), ("--flips",), ("--no-seg",)):  # nor after its failure, nor with other settings
        cohort(tmp_path / "in", *words, *more)
        assert mask.read_bytes() == b"corrected by hand"


def test_parts_together_are_the_whole_and_never_meet(cohort: Cohort, tmp_path: Path) -> None:
    for number in range(1, 6):
        write_series(tmp_path / "in", number)
    words = (tmp_path / "in", "-o", tmp_path / "out", "--part")
    assert cohort(*words, "2/3")[1].startswith("2 of 2 series done\n")
    assert set(masks_of(tmp_path / "out")) == {NAMES[1], NAMES[4]}
    assert cohort(*words, "1/3")[1].startswith("2 of 2 series done\n")
    assert cohort(*words, "3/3")[1].startswith("1 of 1 series done\n")
    assert list(table_of(tmp_path / "out")) == NAMES[:5]


@pytest.mark.parametrize("part", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2"])
def test_a_part_that_is_none_is_one_line(part: str, cohort: Cohort, tmp_path: Path) -> None:
    write_series(tmp_path / "in", 1)
    code, _, err = cohort(tmp_path / "in", "-o", tmp_path / "out", f"--part={part}")
    assert code == 2 and "--part 3/8" in err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfpath;name\r\ns1;first\r\n\r\n;\r\ns2;second\r\n",
        b'\n\npath,name\ns1,first\n\n,\n"s2",second',
        b"name\tPath \nfirst\ts1\nsecond\ts2\n",
    ],
)
def test_lists_as_spreadsheets_write_them_are_read(content: bytes, cohort: Cohort, tmp_path: Path) -> None:
    for number in (1, 2):
        write_series(tmp_path, number)
    (tmp_path / "list.csv").write_bytes(content)
    code, _, err = cohort(tmp_path / "list.csv", "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    assert set(masks_of(tmp_path / "out")) == {"first", "second"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"path,seris\na,b\n", "the column 'seris' is not known (did you mean series?)"),
        (b"image\na\n", "the column 'image' is not known"),
        (b"name\na\n", "the column path is missing"),
        (b"path\n", "lists no series"),
        (b"", "is empty"),
        (b"path,path\na,b\n", "the column path occurs twice"),
        (b"path,name\na,x\nb,X\n", "lines 2 and 3 have one name, 'X'"),
        (b"path,name\na,../x\n", "cannot be the name of a folder"),
        (b"path,name\na,cohort.csv\n", "cannot be the name of a folder"),
        (b"path,pixel_size\na,zero\n", "pixel_size must be a number of mm above 0, is 'zero'"),
        (b"path\na,b\n", "line 2 has 2 cells under 1 columns"),
        (b"path\n\xe4\n", "is not a CSV file"),
        (b'path\n"a\n', "is not a CSV file"),
    ],
)
def test_a_list_that_is_wrong_is_one_line_before_anything_is_done(
    content: bytes, said: str, cohort: Cohort, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    code, _, err = cohort(tmp_path / "list.csv", "-o", tmp_path / "out")
    assert code == 2 and said in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_equal_names_get_an_ending_that_stays(cohort: Cohort, tmp_path: Path) -> None:
    for ward in "ab":
        save_nifti(tmp_path / "in" / ward / "scan.nii.gz", noise(3, 20, 20, seed=ord(ward)).astype(np.int16))
    assert cohort(tmp_path / "in", "-o", tmp_path / "out")[0] == 0
    names = set(masks_of(tmp_path / "out"))
    assert len(names) == 2 and all(len(name) == len("scan_123456") and name.startswith("scan_") for name in names)
    shutil.move(tmp_path / "in", tmp_path / "elsewhere")
    assert "2 of them before" in cohort(tmp_path / "elsewhere", "-o", tmp_path / "out")[1]


def test_masks_inside_the_listed_folder_are_refused(cohort: Cohort, tmp_path: Path) -> None:
    write_series(tmp_path / "in", 1)
    code, _, err = cohort(tmp_path / "in", "-o", tmp_path / "in" / "out")
    assert code == 2 and "its masks would be taken for scans" in err
    assert not (tmp_path / "in" / "out").exists()


def test_a_damaged_bundle_ends_the_command_and_blames_no_series(bundle: Bundle, tmp_path: Path, capsys) -> None:
    write_series(tmp_path / "in", 1)
    shutil.copytree(bundle.path, tmp_path / "bundle")
    weights = tmp_path / "bundle" / "models" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert main(["cohort", str(tmp_path / "bundle"), str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 2
    assert "the weights were changed" in capsys.readouterr().err
    assert records_of(tmp_path / "out") == []


def test_the_doubtful_come_first_on_the_page(cohort: Cohort, tmp_path: Path) -> None:
    write_series(tmp_path / "in", 1)
    array = np.zeros((20, 20, 6), np.int16)
    save_nifti(tmp_path / "in" / "nothing.nii.gz", array)
    array[8:12, 8:12, 2:4] = 1500
    save_nifti(tmp_path / "in" / "fine.nii.gz", array)
    (tmp_path / "in" / "cut.nii.gz").write_bytes((tmp_path / "in" / "fine.nii.gz").read_bytes()[:-20])
    (tmp_path / "in" / "=cmd.nii.gz").write_bytes((tmp_path / "in" / "fine.nii.gz").read_bytes())
    assert cohort(tmp_path / "in", "-o", tmp_path / "out")[0] == 2
    page = (tmp_path / "out" / "cohort.html").read_text()
    assert "<td>cut</td>" in page  # has no page of its own
    places = [page.index(f">{name}</") for name in ("cut", "nothing", NAMES[0], "=cmd", "fine")]
    assert places == sorted(places)
    assert "organ not found" in page and "organ reaches the border" in page and "data:image/png;base64," in page
    assert "<script" not in page and "Secret" not in page
    table = table_of(tmp_path / "out")
    assert (table["nothing"]["organ ml"], table["nothing"]["empty"]) == ("0.0", "organ")
    assert (table["fine"]["doubts"], table["fine"]["organ voxels"], table["fine"]["organ ml"]) == ("0", "32", "0.096")
    assert "'=cmd" in table  # a spreadsheet would run it
    sidecar = json.loads((tmp_path / "out" / "fine" / "mask.json").read_text())
    assert sidecar["volumes"][0]["voxels"] == 32


def test_a_browser_shows_the_page_without_complaint(cohort: Cohort, tmp_path: Path) -> None:
    chromium = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    write_series(tmp_path / "in", 1)
    write_series(tmp_path / "in", 2, Modality="MR")
    assert cohort(tmp_path / "in", "-o", tmp_path / "out", "--no-seg")[0] == 2
    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        page.goto((tmp_path / "out" / "cohort.html").as_uri())
        first = [table.query_selector("tbody td").inner_text() for table in page.query_selector_all("table")]
        assert page.evaluate("document.documentElement.scrollWidth") <= 1200
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 100)")
        page.get_by_role("link", name=NAMES[0]).click()
        assert page.url == (tmp_path / "out" / NAMES[0] / "report.html").as_uri()
        browser.close()
    assert (first, said) == ([NAMES[1], NAMES[0]], [])
