"""The picture of a comparison: dots where they belong, apart from each other, with names that stay text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.comparable import ScoredRun
from pipeline.evaluation.compare import Comparison, compare_runs
from pipeline.evaluation.table import CaseMasks, EvaluationTable
from pipeline.labels import label_table
from pipeline.report.differences import BETTER, SAME, WORSE, draw_differences
from pipeline.report.drawing import Dot, Drawing, Words, shortened, width_of


def comparison(*found: tuple[int, int], name: str = "c", structure: str = "organ") -> Comparison:
    """Of 50 voxels of a case, A finds the first number, B the second: Dice 2 n / (50 + n)."""
    runs = []
    for which, letter in enumerate("ab"):
        masks = []
        for number, pair in enumerate(found):
            truth, predicted = np.zeros((2, 10, 10, 1), np.uint8)
            truth.flat[:50] = predicted.flat[: pair[which]] = 1
            masks.append(CaseMasks(f"{name}{number}", f"P{number}", truth, predicted, None))
        table = EvaluationTable.from_cases(masks, label_table({structure: 1}))
        runs.append(ScoredRun(name=f"{name}/{letter}", file=Path(letter), evaluation=table))
    return compare_runs(runs)


def cases_of(drawing: Drawing) -> list[Dot]:
    return [mark for mark in drawing.marks if isinstance(mark, Dot) and mark.tip]


def test_each_case_is_a_dot_at_its_difference() -> None:
    """Dice 0 to 1, 1 to 0 and 2/3 to 2/3 on an axis from -1 to 1, which is drawn from x = 190 to x = 840."""
    dots = cases_of(draw_differences(comparison((0, 50), (50, 0), (25, 25))))
    assert [(dot.x, dot.colour) for dot in dots] == [
        (pytest.approx(190), WORSE),
        (pytest.approx(515), SAME),
        (pytest.approx(840), BETTER),
    ]
    assert dots[0].tip == "c1: 1.000 to 0.000, -1.000"


def test_dots_of_equal_cases_stand_apart_and_within_their_strip() -> None:
    dots = cases_of(draw_differences(comparison(*[(25, 25)] * 5, *[(25, 26)] * 40)))
    heights = [dot.y for dot in dots if dot.colour == SAME]
    assert len(set(heights)) == 5
    assert max(dot.y for dot in dots) - min(dot.y for dot in dots) <= 40 and len(dots) == 45


def test_the_png_shows_a_dot_where_the_svg_does() -> None:
    drawing = draw_differences(comparison((0, 50), (25, 25)))
    picture = drawing.picture(per_unit=2)
    dot = next(dot for dot in cases_of(drawing) if dot.colour == BETTER)
    assert picture.size == (round(drawing.width * 2), round(drawing.height * 2))
    assert picture.getpixel((round(dot.x * 2), round(dot.y * 2))) == tuple(bytes.fromhex(BETTER[1:]))
    assert f'cx="{dot.x:.1f}" cy="{dot.y:.1f}"' in drawing.svg("label")


def test_a_structure_without_pairs_says_so() -> None:
    drawing = draw_differences(_absent())
    assert "no case to compare" in [mark.text for mark in drawing.marks if isinstance(mark, Words)]
    assert cases_of(drawing) == []


def _absent() -> Comparison:
    empty = np.zeros((4, 4, 1), np.uint8)
    table = EvaluationTable.from_cases([CaseMasks("c", "P", empty, empty, None)], label_table({"organ": 1}))
    return compare_runs([ScoredRun(name=name, file=Path(name), evaluation=table) for name in "ab"])


def test_names_from_outside_stay_text() -> None:
    evil = "<script>alert(1)</script>&"
    svg = draw_differences(comparison((50, 0), (25, 25), name=evil, structure=evil)).svg(evil)
    assert "<script" not in svg and "&lt;script&gt;" in svg


def test_a_long_name_keeps_both_ends_within_its_width() -> None:
    name = "patient_0001_" + "x" * 80 + "_axial_7"
    short = shortened(name, 120)
    assert width_of(short) <= 120 and short.startswith("patient") and short.endswith("7") and "…" in short
    assert shortened("liver", 120) == "liver"


@pytest.mark.parametrize("name", ["ä", "脳" * 60])
def test_odd_names_are_drawn(name: str) -> None:
    assert draw_differences(comparison((1, 2), (3, 2), name=name, structure=name)).picture().height > 100
