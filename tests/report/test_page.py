"""The HTML page as a browser and a reader get it."""

from __future__ import annotations

import html.parser
import io
import math
import re
from pathlib import Path

import pytest
from PIL import Image

from pipeline.report.chart import draw_curves, ticks
from pipeline.report.page import Page


class Reader(html.parser.HTMLParser):
    """Tags, attributes and text, as a browser splits them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle", "polyline"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(data.strip())


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (3, 2)).save(out, "PNG")
    return out.getvalue()


def full_page() -> Page:
    page = Page("Title", "subtitle")
    page.text("First.\n\nSecond.", heading="Heading")
    page.notice("Slices are 5 mm apart.")
    page.table(["case", "Dice", "voxels", "held out"], [["a", 0.9512, 12, True], ["b", None, 7, False]], "Scores")
    page.picture(png(), "caption", "what is to be seen")
    page.curves("Dice", {"liver": [(0, 0.1), (1, 0.5)], "lesion": [(0, 0.0), (1, math.nan), (2, 0.3)]}, "epoch", "Dice")
    page.commands(["unet train a.json -o runs/a"])
    return page


def test_every_tag_is_closed_and_every_picture_has_words() -> None:
    reader = Reader(full_page().html())
    assert reader.open == []
    assert [attributes["alt"] for tag, attributes in reader.tags if tag == "img"] == ["what is to be seen"]
    assert all(attributes.get("aria-label") for tag, attributes in reader.tags if attributes.get("role") in ("img", "region"))


def test_page_loads_nothing_and_runs_nothing() -> None:
    text = full_page().html()
    assert "<script" not in text and "url(" not in text and "@import" not in text
    sources = [attributes[name] for _, attributes in Reader(text).tags for name in ("src", "href") if name in attributes]
    assert len(sources) == 1 and str(sources[0]).startswith("data:image/png;base64,")
    assert "default-src 'none'" in text


def test_text_from_outside_stays_text() -> None:
    evil = "<script>alert('x')</script>\"&"
    page = Page(evil, evil)
    page.text(evil, heading=evil)
    page.notice(evil)
    page.table([evil], [[evil]], evil)
    page.picture(png(), evil, evil)
    page.curves(evil, {evil: [(0, 1), (1, 2)]}, evil, evil)
    page.commands([evil])
    reader = Reader(page.html())
    assert "script" not in {tag for tag, _ in reader.tags} and reader.open == []
    # twice title, subtitle, heading, paragraph, notice, caption, head, cell, caption, curves' title, two axes, legend, command
    assert sum(word == evil for word in reader.words) == 15


def test_numbers_have_three_decimals_and_absence_is_said() -> None:
    words = Reader(full_page().html()).words
    assert {"0.951", "12", "n/a", "yes", "no"} <= set(words)


def test_row_of_the_wrong_length_is_a_bug_that_shows() -> None:
    with pytest.raises(ValueError, match="1 cells under 2 columns"):
        Page("x").table(["a", "b"], [["only one"]], "caption")


def test_something_else_than_a_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="neither PNG nor JPEG"):
        Page("x").picture(b"<svg onload='alert(1)'>", "caption", "alt")


def test_page_is_written_in_one_step(tmp_path: Path) -> None:
    path = full_page().write(tmp_path / "new folder" / "page.html")
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [other.name for other in path.parent.iterdir()] == ["page.html"]


def test_older_page_stays_when_the_new_one_cannot_be_made(tmp_path: Path) -> None:
    path = full_page().write(tmp_path / "page.html")
    before = path.read_bytes()
    broken = Page("x")
    broken._parts.append(object())  # type: ignore[arg-type]
    with pytest.raises(Exception, match="heading"):
        broken.write(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 1.0], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        ([0, 39], [0, 10, 20, 30, 40]),
        ([0.93, 0.951], [0.93, 0.935, 0.94, 0.945, 0.95, 0.955]),
        ([-3.0, 4.0], [-4, -2, 0, 2, 4]),
        ([], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ],
)
def test_axes_have_round_numbers(values: list[float], expected: list[float]) -> None:
    assert ticks(values) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.0, 0.5, -2.0, 1e-9, 1e6])
def test_curve_that_stays_the_same_can_be_drawn(value: float) -> None:
    scale = ticks([value, value])
    assert scale[0] < value < scale[-1] or scale[0] <= value <= scale[-1]
    assert len(set(scale)) == len(scale) > 1


def test_curve_runs_from_the_lower_left_to_the_upper_right_corner() -> None:
    svg = draw_curves("t", {"a": [(0, 0.0), (10, 1.0)]}, x_label="x", y_label="y").svg
    points = re.search(r'points="([\d.]+),([\d.]+) ([\d.]+),([\d.]+)"', svg)
    assert points is not None
    assert [float(number) for number in points.groups()] == [64.0, 274.0, 744.0, 14.0]


def test_missing_value_leaves_a_gap() -> None:
    curve = [(0, 1.0), (1, 1.0), (2, math.nan), (3, 1.0), (4, 2.0), (5, math.inf), (6, 1.0)]
    svg = draw_curves("t", {"a": curve}, x_label="x", y_label="y").svg
    assert svg.count("<polyline") == 2 and svg.count("<circle") == 1


def test_twenty_curves_are_told_apart() -> None:
    chart = draw_curves("t", {f"structure {n}": [(0, n)] for n in range(20)}, x_label="x", y_label="y")
    assert len({(colour, dashes) for _, colour, dashes in chart.legend}) == 20
