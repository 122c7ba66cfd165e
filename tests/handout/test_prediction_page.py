"""The page of a prediction: outlines on their pixels, sides, scale and numbers as they are, in a browser too."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_predictions import handed_out, labelled, pixels, series
from made_runs import thresholding_bundle
from made_series import save, volume_datasets
from matplotlib.path import Path as Polygon
from PIL import Image
from scipy import ndimage

from pipeline.cli.main import main
from pipeline.errors import Notice
from pipeline.handout import found
from pipeline.handout.folder import write_prediction
from pipeline.handout.panels import MOST_CORNERS, outline_path
from pipeline.handout.pieces import count_pieces
from pipeline.inference.prediction import Prediction, structure_volumes
from pipeline.io.volume import Source, Volume
from pipeline.labels import LabelTable, label_table

THREE = label_table({"liver": 1, "vessel": 2, "absent": 9})
SVG = re.compile(r'<svg class="slice" viewBox="0 0 (\S+) (\S+)" role="img" aria-label="([^"]*)">(.*?)</svg>', re.DOTALL)


def prediction_of(
    labels: np.ndarray,
    table: LabelTable = THREE,
    affine: np.ndarray | None = None,
    *,
    modality: str = "CT",
    notices: tuple[Notice, ...] = (),
    **source: object,
) -> Prediction:
    where = Source(**{"path": Path("scans/knee.nii.gz"), "kind": "nifti", **source})
    grey = np.random.default_rng(0).normal(40, 20, labels.shape[:3]).astype(np.int16)
    affine = np.diag([-0.5, -0.75, 3, 1]) if affine is None else affine
    image = Volume(array=grey, affine=affine, modality=modality, source=where)
    volume = replace(image, array=labels)
    structures = structure_volumes(volume, table)
    return Prediction(image=image, labels=volume, table=table, structures=structures, notices=notices)


def two_structures(shape: tuple[int, int, int] = (60, 48, 12)) -> np.ndarray:
    """A liver with a hole, in slices 3 to 9; two separate vessels, one of which reaches the head end."""
    labels = np.zeros(shape, np.uint8)
    labels[20:40, 10:30, 2:9] = 1
    labels[25:30, 15:20, 2:9] = 0
    labels[50:53, 40:44, 3:] = 2
    labels[4, 4, 3] = 2
    return labels


def page_of(prediction: Prediction, out: Path) -> str:
    return (write_prediction(prediction, out) / "report.html").read_text(encoding="utf-8")


def filled(path: str, size: tuple[int, int]) -> np.ndarray:
    """Bool (rows, columns): path data filled by odd and even by matplotlib, as nothing of ours does it."""
    column, row = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    centres = np.stack([column.ravel(), row.ravel()], axis=1)
    inside = np.zeros(len(centres), dtype=bool)
    for start, moves in re.findall(r"M(-?\d+ -?\d+)([^Mz]*)z", path):
        points = [np.array(start.split(), dtype=float)]
        for way, length in re.findall(r"([hv])(-?\d+)", moves):
            points.append(points[-1] + (np.array([int(length), 0]) if way == "h" else np.array([0, int(length)])))
        inside ^= Polygon([*points, points[0]], closed=True).contains_points(centres)
    return inside.reshape(size[1], size[0])


@pytest.mark.parametrize("name", ["structure-1", "structure-2"])
def test_outlines_enclose_exactly_the_pixels_of_the_mask(name: str, tmp_path: Path) -> None:
    labels = two_structures()
    text = page_of(prediction_of(labels), tmp_path)
    slices = [shown for shown in SVG.findall(text) if shown[2].startswith("axial")][:8]  # the overview: whole slices
    assert slices[0][2] == "axial 3/12"
    for *_, words, svg in slices:
        k = int(words.split()[1].split("/")[0]) - 1
        paths = re.findall(rf'<g class="{name}[^>]*><path d="([^"]*)"', svg)
        marked = np.equal(labels[:, :, k].T, int(name[-1]))  # stored from right to left and front to back: as on the screen
        np.testing.assert_array_equal(filled("".join(paths), (60, 48)), marked)


@pytest.mark.parametrize("codes", [(-1, -1, 1), (1, 1, 1), (1, -1, -1)])
def test_outlines_lie_on_the_anatomy_of_every_picture_in_every_plane(codes: tuple[int, int, int], tmp_path: Path) -> None:
    """What is bright is the structure: the picture in the page, read by Pillow, against the outline, filled by matplotlib."""
    labels = np.zeros((60, 70, 40), np.uint8)
    labels[40:47, 12:20, 5:17] = 1
    labels[47:49, 12:14, 5:30] = 1
    prediction = prediction_of(labels, label_table({"thing": 1}), np.diag([*np.multiply(codes, (0.5, 0.75, 1.5)), 1.0]))
    prediction.image.array[:] = np.where(labels, 200, -160)
    shown = SVG.findall(page_of(prediction, tmp_path).split("<h2>thing</h2>")[1])
    assert sorted({words.split()[0] for *_, words, _ in shown}) == ["axial", "coronal", "sagittal"] and len(shown) == 8
    for *_, svg in shown:
        (address,) = re.findall(r'href="data:image/png;base64,([^"]*)"', svg)
        grey = np.asarray(Image.open(io.BytesIO(base64.b64decode(address))))
        assert grey.size < 60 * 70  # a part of the slice
        paths = re.findall(r'class="structure-1 main"[^>]*><path d="([^"]*)"', svg)
        np.testing.assert_array_equal(filled("".join(paths), grey.shape[::-1]), grey > 128)
        assert (grey > 128).any()


def test_a_rough_outline_is_drawn_coarser_and_says_so(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (400, 400, 1)).astype(np.uint8)
    path, step = outline_path(noise[:, :, 0].T > 0, np.zeros(2))
    assert step > 1 and len(path) < 8 * MOST_CORNERS
    assert f"outlines in steps of {step} pixels" in page_of(prediction_of(noise), tmp_path)


def letters_of(svg: str) -> str:
    return "".join(re.findall(r'<text class="side \w+"[^>]*>(\w)<', svg))


AXIAL, CORONAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1]


@pytest.mark.parametrize(
    ("turn", "step", "letters"),
    [
        (AXIAL, (0, 0, 2.5), "RLAP"),
        (AXIAL, (0, 1.1, 4.0), "RLAP"),  # a tilted gantry
        ([-1, 0, 0, 0, -1, 0], (0, 0, 2.5), "RLAP"),  # stored upside down
        (CORONAL, (0, 4.0, 0), "RLHF"),
        ([0, 1, 0, 0, 0, -1], (-4.0, 0, 0), "APHF"),
    ],
)
def test_letters_name_the_sides_in_every_orientation(
    turn: list[float], step: tuple[float, float, float], letters: str, tmp_path: Path
) -> None:
    folder = save(volume_datasets(pixels(), step=step, ImageOrientationPatient=turn), tmp_path / "in")
    text = (handed_out(folder, tmp_path / "out")[1] / "report.html").read_text(encoding="utf-8")
    assert letters_of(SVG.findall(text)[0][3]) == letters


def test_the_other_planes_are_lettered_and_in_true_proportions(tmp_path: Path) -> None:
    text = page_of(prediction_of(two_structures()), tmp_path).split("<h2>liver</h2>")[1].split("<h2>")[0]
    shown = {words.split()[0]: (float(w), float(h), svg) for w, h, words, svg in SVG.findall(text)}
    assert letters_of(shown["coronal"][2]) == "RLHF" and letters_of(shown["sagittal"][2]) == "APHF"
    for plane, (across_mm, down_mm) in {"coronal": (0.5, 3.0), "sagittal": (0.75, 3.0)}.items():
        width, height, svg = shown[plane]
        columns, rows = map(int, re.findall(r' width="(\d+)" height="(\d+)"', svg)[0])
        assert width / height == pytest.approx(columns * across_mm / (rows * down_mm), rel=1e-3)


def test_a_sheared_plane_leans_as_the_slices_do(tmp_path: Path) -> None:
    affine = np.diag([-1.0, -1.0, 4.0, 1.0])
    affine[1, 2] = -1.0  # each slice lies 1 mm further back than the one below
    text = page_of(prediction_of(two_structures(), affine=affine), tmp_path)
    (sagittal,) = [svg for *_, words, svg in SVG.findall(text.split("<h2>liver</h2>")[1].split("<h2>")[0]) if "sag" in words]
    a, b, c, d, *_ = map(float, re.findall(r"matrix\(([^)]*)\)", sagittal)[0].split())
    assert (b, c / a, d / a) == (0, pytest.approx(-1.0), pytest.approx(4.0))  # down is footwards: towards the front, left


def test_the_scale_is_as_long_as_it_says(tmp_path: Path) -> None:
    text = page_of(prediction_of(two_structures()), tmp_path)
    for width, _, words, svg in SVG.findall(text):
        if not words.startswith("axial"):
            continue
        columns = int(re.findall(r' width="(\d+)"', svg)[0])
        bar_px = float(re.findall(r'class="halo" d="M8 \S+?h([\d.]+)"', svg)[0])
        length_mm = float(re.findall(r">([\d.]+) mm</text>", svg)[0])
        assert length_mm / bar_px == pytest.approx(columns * 0.5 / float(width), rel=1e-3)


def test_a_picture_of_unknown_size_has_a_scale_in_pixels_and_no_letters(tmp_path: Path) -> None:
    cells = prediction_of(two_structures((60, 48, 12))[:, :, 4:5], kind="picture", spacing_known=False, modality="")
    text = page_of(cells, tmp_path)
    first = SVG.findall(text)[0][3]
    assert "20 px</text>" in first and letters_of(first) == "" and " mm</text>" not in text and " ml" not in text


def rows_of(text: str) -> list[list[str]]:
    table = text.split("<h2>Structures</h2>")[1].split("</table>")[0]
    return [re.findall(r"<td[^>]*>(?:<span[^>]*></span>)?([^<]*)</td>", row) for row in table.split("<tr>")[2:]]


def test_numbers_are_the_sidecars_and_what_was_not_found_stands_first(tmp_path: Path) -> None:
    folder = write_prediction(prediction_of(two_structures()), tmp_path)
    said = json.loads((folder / "mask.json").read_text(encoding="utf-8"))
    text = (folder / "report.html").read_text(encoding="utf-8")
    liver, vessel, absent = said["volumes"]
    assert absent["voxels"] == 0
    assert rows_of(text) == [
        ["absent", "not found", "", "", "", "", ""],
        ["liver", "2.95 ml", str(liver["voxels"]), "1", "100 %", "3 to 9", "no"],  # 2625 of 1.125 mm3
        ["vessel", "&gt;= 0.12 ml", str(vessel["voxels"]), "2", "99.1 %", "4 to 12", "head end"],  # 108 and 1
    ]
    assert text.index("structures not found: absent") < text.index("<svg")
    assert liver["text"].endswith("2.95 ml") and vessel["text"].endswith(">= 0.12 ml")
    assert {"name": "report.html", "what": "page", "exact": True} in said["files"] and "page" in said["timings_s"]


def test_border_contact_is_said_by_the_side_of_the_patient(tmp_path: Path) -> None:
    labels = np.zeros((20, 20, 6), np.uint8)
    labels[0, 5, 2] = labels[5, 19, 2] = labels[5, 5, 0] = 1
    assert rows_of(page_of(prediction_of(labels), tmp_path / "a"))[-1][-1] == "right side, back, foot end"
    assert rows_of(page_of(prediction_of(labels[:, :, :1]), tmp_path / "b"))[-1][-1] == "the only slice"


@pytest.mark.parametrize("thick", [1, 2, 3, 5, 24])
def test_pieces_are_counted_as_in_one_volume(thick: int) -> None:
    mask = np.random.default_rng(4).random((24, 17, 19)) < 0.09
    numbers, count = ndimage.label(mask, np.ones((3, 3, 3)))
    assert count > 50
    slabs = (mask[start : start + thick] for start in range(0, 24, thick))
    assert count_pieces(slabs) == (count, np.bincount(numbers.ravel())[1:].max())


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_scan_that_is_looked_at_in_parts_gives_the_same_table(order: str, tmp_path: Path, monkeypatch) -> None:
    whole = prediction_of(two_structures())
    expected = rows_of(page_of(whole, tmp_path / "a"))
    parts = replace(whole, labels=replace(whole.labels, array=np.asarray(whole.labels.array, order=order)))
    monkeypatch.setattr(found, "SLAB_VOXELS", 900)
    assert rows_of(page_of(parts, tmp_path / "b")) == expected


def test_warnings_stand_before_pictures(tmp_path: Path) -> None:
    notice = Notice(code="made-up", sentence="something to know", where="knee")
    affine = np.diag([-1.0, -1.0, 4.0, 1.0])
    affine[1, 2] = 1.0
    text = page_of(prediction_of(two_structures(), affine=affine, notices=(notice,)), tmp_path)
    for words in ("knee: something to know", "Resampled (sheared)", "Not a medical device"):
        assert text.index(words) < text.index("<svg")


def test_an_empty_mask_shows_the_whole_scan_and_says_so(tmp_path: Path) -> None:
    text = page_of(prediction_of(np.zeros((60, 48, 40), np.uint8)), tmp_path)
    shown = [words for *_, words, _ in SVG.findall(text)]
    assert len(shown) == 8 and (shown[0], shown[-1]) == ("axial 1/40", "axial 40/40")
    assert "Nothing was marked" in text and '<path d="M' not in text.split("<h2>Structures")[0].split('class="bar"')[0]


def test_overlapping_structures_are_both_outlined(tmp_path: Path) -> None:
    table = label_table({"whole": 1, "core": 2}, overlapping=True)
    labels = np.zeros((30, 30, 6, 2), np.uint8)
    labels[5:25, 5:25, 1:5, 0] = labels[10:20, 10:20, 2:4, 1] = 1
    text = page_of(prediction_of(labels, table), tmp_path)
    svg = next(svg for *_, words, svg in SVG.findall(text) if words == "axial 3/6")
    for number, pixels_in in (("1", 400), ("2", 100)):
        (path,) = re.findall(rf'class="structure-{number}"[^>]*><path d="([^"]*)"', svg)
        assert filled(path, (30, 30)).sum() == pixels_in


def test_a_ct_is_shown_in_the_window_of_the_structure(tmp_path: Path) -> None:
    prediction = prediction_of(two_structures())
    prediction.image.array[prediction.labels.array == 1] = -800
    prediction.image.array[prediction.labels.array == 2] = 900
    text = page_of(prediction, tmp_path / "a")
    assert "lung window, -1350 to 150 HU" in text.split("<h2>liver")[1].split("<svg")[0]
    assert "bone window, -500 to 1300 HU" in text.split("<h2>vessel")[1].split("<svg")[0]
    other = page_of(prediction_of(two_structures(), modality="MR"), tmp_path / "b")
    assert "1st to 99th percentile" in other and " HU" not in other


def test_twenty_structures_in_a_large_scan_stay_a_page_that_opens(tmp_path: Path) -> None:
    table = label_table({f"structure number {n}": n for n in range(1, 41)})
    labels = np.zeros((256, 256, 41), np.uint8)
    for n in range(1, 41):
        labels[:, 6 * n : 6 * n + 5, :] = n  # each as wide as the scan: no part of it can be left away
    text = page_of(prediction_of(labels, table), tmp_path)
    assert len(text) < 5_000_000
    left_out = re.findall(r"pictures of (\d+) structures were left out", text)
    assert len(re.findall(r"<h2>structure number", text)) + int(left_out[0] if left_out else 0) == 40


def test_names_from_outside_stay_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'&"
    table = label_table({evil: 1, "<b>absent": 2})
    notice = Notice(code="made-up", sentence=evil, where=evil)
    prediction = prediction_of(two_structures(), table, notices=(notice,), path=Path("<img src=x onerror=alert(2)>.nii"))
    text = page_of(replace(prediction, provenance={"command": evil, "bundle": evil}), tmp_path)
    assert "<script" not in text and "<b>" not in text and "<img" not in text
    assert "&lt;script&gt;" in text


def test_without_a_page_none_is_written_and_none_is_listed(tmp_path: Path) -> None:
    folder = write_prediction(prediction_of(two_structures()), tmp_path, page=False)
    assert not (folder / "report.html").exists()
    assert "report.html" not in (folder / "mask.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("out", ["-o OUT", "-oOUT", "--out=OUT"])
def test_the_command_stands_on_the_page_without_the_places_of_scans_and_results(out: str, tmp_path: Path, capsys) -> None:
    bundle = thresholding_bundle(tmp_path, table=label_table({"cell": 255}), plane="stored", modality="picture", at=127)
    scans = tmp_path / "Doe^Jane"
    scans.mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60)).astype(np.uint8)).save(scans / f"{name}.png")
    words = out.replace("OUT", str(scans / "out")).split(" ")
    assert main(["predict", str(bundle.path), str(scans / "a.png"), str(scans / "b.png"), *words, "--timings"]) == 0
    seconds = r"^  seconds: read \d+\.\d\d, segment \d+\.\d\d, write \d+\.\d\d, page \d+\.\d\d$"
    assert len(re.findall(seconds, capsys.readouterr().out, re.MULTILINE)) == 2
    for folder in (scans / "out" / "a", scans / "out" / "b"):
        text = (folder / "report.html").read_text(encoding="utf-8")
        assert f"unet predict {bundle.path} INPUT {out} --timings" in text and "Jane" not in text
        assert "Jane" not in (folder / "mask.json").read_text(encoding="utf-8")
    assert main(["predict", str(bundle.path), str(scans / "a.png"), *words, "--no-page", "--overwrite"]) == 0
    assert not (scans / "out" / "a" / "report.html").exists() and "seconds" not in capsys.readouterr().out


def test_nothing_of_the_patient_stands_on_the_page(tmp_path: Path) -> None:
    folder, reading = series("faulty header", tmp_path / "Jörg")
    text = (handed_out(folder, tmp_path / "out", **reading)[1] / "report.html").read_text(encoding="utf-8")
    assert "series" in text
    for secret in ("Müßig", "Jörg", "19700230", "a study ID"):
        assert secret not in text


def test_a_browser_shows_and_hides_outlines_and_asks_nobody(tmp_path: Path) -> None:
    chromium = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    file = write_prediction(labelled(prediction_of(np.zeros((60, 48, 12), np.uint8)).image), tmp_path) / "report.html"
    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        for width in (400, 1400):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(file.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width

        def display(name: str) -> set[str]:
            return set(page.eval_on_selector_all(f".{name}", "all => all.map(one => getComputedStyle(one).display)"))

        loaded = "all => all.every(one => one.getBBox().width > 0 && one.getBoundingClientRect().width > 100)"
        assert page.eval_on_selector_all("svg image", loaded)
        assert display("structure-3") == display("structure-7") == display("contours") == {"inline"}
        page.uncheck("#show-structure-3")
        assert (display("structure-3"), display("structure-7")) == ({"none"}, {"inline"})
        page.check("#show-structure-3")
        page.uncheck("#show-contours")
        assert display("contours") == {"none"} and display("structure-3") == {"inline"}
        assert page.locator(".contours path").first.is_hidden()
        before = page.locator(".gallery figure").first.bounding_box()
        page.check("#large")
        after = page.locator(".gallery figure").first.bounding_box()
        assert before and after and after["width"] > 1.5 * before["width"]
        browser.close()
    assert said == []
