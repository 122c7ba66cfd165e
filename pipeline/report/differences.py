"""The picture of a comparison: a strip a structure and run, a dot a case, the mean difference with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile

from ..evaluation.compare import Change, Comparison, Difference
from ..evaluation.compare_text import title_of
from ..evaluation.paired import EQUAL
from .chart import COLOURS, number_text, ticks
from .drawing import Dot, Drawing, Line, Words, shortened, width_of

WIDTH = 860
LEFT, RIGHT, BOTTOM = 190, 20, 52
LINE, LEGEND = 20, 44  # heights at the top: of the name of each run, and of what the colours mean
STRIP = 58  # height of one strip; its dots lie in the upper part, the interval in the lower one
DOT, SPREAD = 4.0, 15.0  # radius of a dot; how far dots are moved up or down where they would cover each other
APART = 1.6 * DOT  # between the centres of two dots, that both may be seen
HALF_STEP = 0.51 * APART  # two of them are just apart
BETTER, WORSE, SAME = COLOURS[0], COLOURS[1], COLOURS[7]


def draw_differences(comparison: Comparison, measure: str = "dice") -> Drawing:
    """Differences of one measure, the other run minus A: right of the line is more than in A.

    Returns: a drawing whose height grows with the number of strips; structures without any pair say so.
    """
    strips = comparison.of(measure)
    values = [change.difference for strip in strips for change in strip.changes]
    ends = [end for strip in strips for end in (strip.result.low, strip.result.high) if end is not None]
    scale = ticks([0.0, *values, *ends])
    start = LINE * len(comparison.runs) + LEGEND
    drawing = Drawing(width=WIDTH, height=start + STRIP * len(strips) + BOTTOM)
    _head(drawing, comparison.runs)
    _axis(drawing, scale, measure, start)
    several = len(comparison.runs) > 2
    for number, strip in enumerate(strips):
        top = start + STRIP * number
        drawing.marks.append(Line(x1=LEFT, y1=top + STRIP, x2=WIDTH - RIGHT, y2=top + STRIP, colour="line"))
        _name(drawing, strip, top, with_run=several)
        _dots(drawing, strip, top, scale)
        _interval(drawing, strip, top, scale)
    return drawing


def _x(value: float, scale: Sequence[float]) -> float:
    return LEFT + (value - scale[0]) / (scale[-1] - scale[0]) * (WIDTH - LEFT - RIGHT)


def _head(drawing: Drawing, runs: Mapping[str, str]) -> None:
    """Which letter is which run, and what the colours mean."""
    for number, (letter, name) in enumerate(runs.items(), start=1):
        text = shortened(f"{letter}: {name}", WIDTH - LEFT - RIGHT)
        drawing.marks.append(Words(x=LEFT, y=LINE * number, text=text, colour="ink"))
    x, y = float(LEFT), LINE * len(runs) + 24
    for text, colour in (("better than A", BETTER), ("worse", WORSE), ("equal", SAME)):
        drawing.marks += [Dot(x=x + DOT, y=y - 5, radius=DOT, colour=colour), Words(x=x + 14, y=y, text=text)]
        x += width_of(text) + 38


def _axis(drawing: Drawing, scale: list[float], measure: str, start: float) -> None:
    bottom = drawing.height - BOTTOM
    for tick in scale:
        x = _x(tick, scale)
        drawing.marks.append(Line(x1=x, y1=start, x2=x, y2=bottom, colour="line"))
        drawing.marks.append(Words(x=x, y=bottom + 18, text=number_text(tick, scale), anchor="middle"))
    zero = _x(0.0, scale)
    drawing.marks.append(Line(x1=zero, y1=start - 4, x2=zero, y2=bottom + 4, colour="soft", width=1.5))
    label = f"difference of {title_of(measure)} against A, a dot a case; bar: mean and 95 % interval"
    drawing.marks.append(Words(x=(LEFT + WIDTH - RIGHT) / 2, y=drawing.height - 10, text=label, anchor="middle"))


def _name(drawing: Drawing, strip: Difference, top: float, *, with_run: bool) -> None:
    name = f"{strip.letter}: {strip.structure}" if with_run else strip.structure
    place = LEFT - 12
    drawing.marks.append(Words(x=place, y=top + 24, text=shortened(name, LEFT - 24), anchor="end", colour="ink"))
    count = strip.result.count
    text = f"{count} {'case' if count == 1 else 'cases'}" if count else "no case to compare"
    drawing.marks.append(Words(x=place, y=top + 42, text=text, anchor="end"))


def _dots(drawing: Drawing, strip: Difference, top: float, scale: list[float]) -> None:
    """Dots beside each other; those that would cover an earlier one move up and down in turn, as far as the strip allows."""
    placed: list[tuple[float, float]] = []
    middle = top + 24
    count = int(SPREAD / HALF_STEP)
    steps = [0.0, *(sign * HALF_STEP * k for k in range(1, count + 1) for sign in (1, -1))]
    worst = {change.case for change in strip.worst(1)}
    for change in strip.changes:
        x = _x(change.difference, scale)
        close = list(takewhile(lambda spot: abs(x - spot[0]) < APART, reversed(placed)))  # noqa: B023  changes come sorted
        free = [s for s in steps if all((x - a) ** 2 + (s - b) ** 2 >= APART**2 for a, b in close)]
        step = free[0] if free else steps[len(placed) % len(steps)]
        placed.append((x, step))
        colour = _colour(change, strip)
        tip = f"{change.case}: {change.first:.3f} to {change.second:.3f}, {change.difference:+.3f}"
        drawing.marks.append(Dot(x=x, y=middle + step, radius=DOT, colour=colour, tip=tip))
        if change.case in worst:
            _case_name(drawing, change, x, middle + step)


def _case_name(drawing: Drawing, change: Change, x: float, y: float) -> None:
    """The worst dot is the outermost on its side of A: its name stands outside of it, or above where there is no room."""
    text = shortened(change.case, 130)
    outside = x - 8 if change.difference < 0 else x + 8
    end = outside - width_of(text) if change.difference < 0 else outside + width_of(text)
    if LEFT < end < WIDTH - RIGHT:
        drawing.marks.append(Words(x=outside, y=y + 4, text=text, anchor="end" if change.difference < 0 else "start"))
    else:
        drawing.marks.append(Words(x=x, y=y - 8, text=text, anchor="start" if change.difference < 0 else "end"))


def _colour(change: Change, strip: Difference) -> str:
    if abs(change.difference) <= EQUAL:
        return SAME
    return BETTER if (change.difference > 0) != strip.less_is_better else WORSE


def _interval(drawing: Drawing, strip: Difference, top: float, scale: list[float]) -> None:
    r, y = strip.result, top + 48
    if r.difference is None:
        return
    if r.low is not None and r.high is not None:
        low, high = _x(r.low, scale), _x(r.high, scale)
        drawing.marks.append(Line(x1=low, y1=y, x2=high, y2=y, colour="ink", width=2))
        drawing.marks += [Line(x1=x, y1=y - 4, x2=x, y2=y + 4, colour="ink", width=2) for x in (low, high)]
    x = _x(r.difference, scale)
    drawing.marks.append(Line(x1=x, y1=y - 7, x2=x, y2=y + 7, colour="ink", width=3))
