"""The page a training ends with, as a reader and a browser get it."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_runs import make_run, some_case
from made_trainings import TINY

from pipeline.evaluation.counts import Counts
from pipeline.evaluation.scores import scores
from pipeline.io.paths import write_text
from pipeline.training.experiment import experiment_yaml
from pipeline.training.open_experiment import open_experiment, override
from pipeline.training.page import write_training_page
from pipeline.training.reasons import reasons_of
from pipeline.training.run_folder import RunFolder
from pipeline.training.train import train
from pipeline.training.validation import CaseScores

SECTIONS = [
    "Result",
    "Data",
    "Plan",
    "Curves",
    "What the curves say",
    "What to try next",
    "Worst cases",
    "After the last epoch",
]


class Reader(HTMLParser):
    """Headings; tables as rows of cells, by caption; what pictures and charts say in words."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.labels: list[str] = []
        self.text = file.read_text(encoding="utf-8")
        self.at, self.caption = "", ""
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.at = tag
        told = dict(attrs)
        if tag == "img":
            self.labels.append(str(told["alt"]))
        elif tag == "svg" and "aria-label" in told:
            self.labels.append(str(told["aria-label"]))
        elif tag == "tr":
            self.tables[self.caption].append([])
        elif tag in ("td", "th"):
            self.tables[self.caption][-1].append("")

    def handle_data(self, data: str) -> None:
        if self.at == "h2":
            self.headings.append(data)
        elif self.at == "caption":
            self.caption = data
            self.tables[data] = []
        elif self.at in ("td", "th"):
            self.tables[self.caption][-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.at = ""

    def table(self, start: str) -> list[list[str]]:
        return next(rows for caption, rows in self.tables.items() if caption.startswith(start))


@pytest.fixture(scope="module")
def page(trained) -> Reader:
    return Reader(trained.path / "report.html")


def test_the_sections_come_in_the_order_of_the_questions(page):
    assert page.headings == [*SECTIONS, "Commands"]


def test_the_result_is_that_of_the_scores_with_its_spread(page, trained):
    told = json.loads((trained.scores / "validation.json").read_text())
    head, *rows = page.table("Mean over the cases")
    assert head == ["structure", "Dice", "IoU", "precision", "recall", "accuracy", "n", "n/a"]
    _, *spread = page.table("Dice of single cases")
    for name, row, (_, lowest, middle, highest) in zip(("organ", "lesion"), rows, spread, strict=True):
        dices = [case[name]["dice"] for case in told["cases"] if case[name]["dice"] is not None]
        assert row[:2] == [name, f"{told['mean'][f'val/dice/{name}']:.3f}" if dices else "n/a"]
        assert row[6:] == [str(len(dices)), str(2 - len(dices))]
        if dices:
            assert (float(lowest), float(highest)) == pytest.approx((min(dices), max(dices)), abs=6e-4)
            assert float(middle) == pytest.approx(np.median(dices), abs=6e-4)


def test_the_data_are_counted_by_fold_and_shares_are_of_the_pixels(page, trained):
    _, *rows = page.table("No patient")
    assert rows == [["training", "2", "2", "MR"], ["validation", "2", "2", "MR"], ["both", "4", "4", "MR"]]
    import nibabel

    root, table = trained.manifest().data_root, dict(page.table("In the validated cases")[1:])
    labels = [nibabel.load(root / f"label_{number}.nii.gz").get_fdata() for number in (0, 2)]
    for name, value in (("organ", 1), ("lesion", 4)):
        assert float(table[name]) == pytest.approx(100 * np.mean([label == value for label in labels]), abs=6e-4)
    assert "2 cases, 2 of them read: MR, median 40 x 36 x 6 voxels" in page.text


def test_the_plan_tells_what_is_not_usual_and_why(page):
    head, *rows = page.table("The defaults")
    told = {row[0]: row[1:] for row in rows}
    assert head == ["setting", "value", "default", "why"]
    assert told["network.width"] == ["2", "64", ""]  # chosen by hand
    assert told["patch"] == ["[32,32]", "[572,572]", ""]
    assert told["network.head"] == ["softmax", "softmax", "a pixel has one class"]
    assert "network.output" not in told and "manifest" not in told and "weight_decay" not in told


def test_reasons_are_the_comments_that_were_written(tmp_path):
    run = make_run(tmp_path / "run")
    reasons = {
        "network.padding": "the paper's: not #2",
        "patch": "4 x 5, 'quoted'",
        "augmentation.flips": "none",
        "seed": "0 # 1",
    }
    write_text(run.experiment_file, experiment_yaml(run.experiment(), reasons))
    assert reasons_of(run.experiment_file) == reasons
    write_text(run.experiment_file, "# above\nname: 'a # b'\npatch: [1,  # first\n  2]\nseed: 3 # mine\n")
    assert reasons_of(run.experiment_file) == {"seed": "mine"}


def test_reasons_of_a_plan_outlive_the_plan(trained, tmp_path):
    """A plan that was written, perhaps edited, and trained: the run says why, too."""
    _, _, reasons = open_experiment(trained.experiment_file, 0, None, None, {})
    assert reasons == reasons_of(trained.experiment_file) and reasons["manifest"].startswith("2 cases")
    _, _, fewer = open_experiment(trained.experiment_file, 0, None, None, {"network.head": "softmax"})
    assert set(reasons) - set(fewer) == {"network.head"}


def test_charts_and_pictures_say_in_words_what_they_show_worst_first(page):
    charts = [label.split(":")[0] for label in page.labels if "curves of" in label]
    assert charts == ["Loss", "Dice on the validation cases", "Time of a step", "Reliability"]
    assert [re.search("of the (.+) validated", label)[1] for label in page.labels if "outlines" in label] == ["worst", "best"]


def test_two_epochs_say_little_and_two_patients_too(page):
    assert "Too few epochs to tell: 2" in page.text or "Nothing found: the best Dice of 2 epochs" in page.text
    assert "Only 2 patients were validated" in page.text


def test_calibration_is_what_was_chosen(page, trained):
    told = json.loads(trained.chosen.read_text())
    calibration = told["calibration"]
    assert f"Calibration error {calibration['ece_before']:.4f}" in page.text
    _, *rows = page.table("How often pixels")
    assert sum(int(row[1]) for row in rows) == sum(int(row[3]) for row in rows) == calibration["pixels"]
    assert "Post-processing: none." in page.text  # two patients are too few


def test_without_validation_the_page_is_about_the_loss(manifest, tmp_path):
    run = train(manifest, tmp_path / "all", fold=None, settings={**TINY, "epochs": 1, "steps_per_epoch": 1})
    page = Reader(run.path / "report.html")
    assert page.headings == [*SECTIONS[:6], "Commands"]
    assert [row[:2] for row in page.table("All cases train")] == [["", "cases"], ["training", "4"]]
    assert "unet bundle build" in page.text and "unet evaluate" not in page.text and "Dice on the" not in page.text


def result(case: str, *structures: tuple[int, int, int]) -> CaseScores:
    tp, fp, fn = zip(*structures, strict=True)
    counts = Counts(tp=tp, fp=fp, fn=fn, tn=[10_000] * len(tp))
    return CaseScores(case=case, counts=counts, scores=scores(counts))


def made_page(folder: Path) -> RunFolder:
    """Of a run with five cases, long names, steps chosen and mirror images measured."""
    names = [f"{'a-long-name-of-a-case-' * 3}{number}" for number in range(5)]
    cases = [some_case(name=name, patient=name) for name in names]
    cases.append(replace(some_case(), fold=1))
    run = make_run(folder, cases=cases, facts={"epochs_done": 1})
    changed = override(run.experiment(), {"name": "x" * 80, "manifest": "manifest.json"})
    write_text(run.experiment_file, experiment_yaml(changed, {"patch": "because " * 20}))
    run.log({"epoch": 1, "train/loss": 0.5, "val/dice": 0.5, "val/dice/organ": 0.5})
    chosen = {
        "epoch": 1,
        "postprocessing": {"organ": {"smallest_ml": 0.5, "largest": False, "holes": True}},
        "dice": {"without": {"organ": 0.5, "mean": 0.5}, "with": {"organ": 0.625, "mean": 0.625}},
        "tried": [],
        "calibration": {"temperature": 1.0, "pixels": 0},
        "flips": {
            "axes": ["columns", "rows"],
            "dice": {"without": {"mean": 0.5}, "with": {"mean": 0.75}},
            "s_per_case": {"without": 1.0, "with": 4.0},
        },
    }
    write_text(run.chosen, json.dumps(chosen))
    results = [result(name, (10 * number, 5, 5), (0, 0, 0)) for number, name in enumerate(names)]
    write_training_page(run, results)
    return run


def test_worst_cases_steps_and_mirror_images_are_in_tables(tmp_path):
    page = Reader(made_page(tmp_path / "run").path / "report.html")
    _, *worst = page.table("The lowest Dice")
    assert [(row[0][-1], *row[1:]) for row in worst] == [
        ("0", "0.000", "0.000", "n/a"),
        ("1", "0.667", "0.667", "n/a"),
        ("2", "0.800", "0.800", "n/a"),
    ]
    assert page.table("Post-processing")[1:] == [
        ["organ", "pieces below 0.5 ml removed, holes filled", "0.500", "0.625"],
        ["lesion", "as the network says", "n/a", "n/a"],
        ["mean", "", "0.500", "0.625"],
    ]
    assert page.table("Averaged over mirror images along columns and rows")[1:] == [
        ["without", "0.500", "1.000"],
        ["with", "0.750", "4.000"],
    ]
    assert "Calibration: no pixel" in page.text


def test_what_was_chosen_for_other_weights_is_not_told(tmp_path):
    run = made_page(tmp_path / "run")
    run.note({"best_epoch": 2})
    write_training_page(run, [result(case.case, (5, 5, 5), (5, 5, 5)) for case in run.manifest().cases if case.fold == 0])
    text = (run.path / "report.html").read_text()
    assert "Nothing was chosen" in text and "0.625" not in text


def test_a_browser_shows_it_without_complaint_and_without_scrolling_sideways(trained, tmp_path):
    chromium = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    files = [trained.path / "report.html", made_page(tmp_path / "run").path / "report.html"]
    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        for width in (400, 1400):
            page.set_viewport_size({"width": width, "height": 900})
            for file in files:
                page.goto(file.as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert said == []
