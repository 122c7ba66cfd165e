"""Curves as inline SVG that follows the page's light or dark colours. Knows nothing of what the numbers mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 760, 320  # of the drawing, in its own units; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 46
COLOURS = ("#2a78d6", "#d9480f", "#2b8a3e", "#9c36b5", "#b8860b", "#0b7285", "#c2255c", "#5f6b7a")
DASHES = ("", "7 3", "2 3", "9 3 2 3")  # told apart without colours, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A drawn chart: the SVG, and for the legend the colour and dashes of each name."""

    svg: str
    legend: tuple[tuple[str, str, str], ...]  # (name, colour, dashes)


def draw_curves(title: str, curves: Mapping[str, Points], *, x_label: str, y_label: str) -> Chart:
    """Lines through the points of each curve; a point that is not finite leaves a gap."""
    points = [(x, y) for curve in curves.values() for x, y in curve if math.isfinite(x) and math.isfinite(y)]
    x_ticks = ticks([x for x, _ in points])
    y_ticks = ticks([y for _, y in points])
    place = _Place(x_ticks[0], x_ticks[-1], y_ticks[0], y_ticks[-1])
    styles = [
        (name, COLOURS[position % len(COLOURS)], DASHES[position // len(COLOURS) % len(DASHES)])
        for position, name in enumerate(curves)
    ]
    if all(x == round(x) for x, _ in points):  # epochs: there is none between two
        x_ticks = [tick for tick in x_ticks if abs(tick - round(tick)) < 1e-9]
    parts = [_grid(place, x_ticks, y_ticks), _labels(x_label, y_label)]
    for (_, colour, dashes), curve in zip(styles, curves.values(), strict=True):
        parts.extend(_line(place, run, colour, dashes) for run in _runs(curve))
    names = ", ".join(curves)
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{title}: curves of {names}")}">'
    return Chart(svg=f"{head}{''.join(parts)}</svg>", legend=tuple(styles))


def ticks(values: Sequence[float], wanted: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that enclose the values; 0 and 1 when there are none."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low < 1e-12 * max(abs(low), abs(high), 1.0):
        low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class _Place:
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y_low) / (self.y_high - self.y_low) * (HEIGHT - TOP - BOTTOM)


def _grid(place: _Place, x_ticks: list[float], y_ticks: list[float]) -> str:
    parts = []
    for tick in y_ticks:
        y = place.y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number_text(tick, y_ticks)}</text>')
    for tick in x_ticks:
        x = place.x(tick)
        parts.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 5}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 19}" text-anchor="middle">{number_text(tick, x_ticks)}</text>')
    return "".join(parts)


def _labels(x_label: str, y_label: str) -> str:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return (
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    )


def _runs(curve: Points) -> list[list[tuple[float, float]]]:
    """The stretches without a gap."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in curve:
        if math.isfinite(x) and math.isfinite(y):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _line(place: _Place, run: list[tuple[float, float]], colour: str, dashes: str) -> str:
    if len(run) == 1:
        return f'<circle cx="{place.x(run[0][0]):.1f}" cy="{place.y(run[0][1]):.1f}" r="3" fill="{colour}"/>'
    path = " ".join(f"{place.x(x):.1f},{place.y(y):.1f}" for x, y in run)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'


def number_text(tick: float, all_ticks: list[float]) -> str:
    """A tick's number: as many decimals as the steps need; very large and very small ones with a power of ten."""
    step = all_ticks[1] - all_ticks[0] if len(all_ticks) > 1 else 1.0
    largest = max(abs(t) for t in all_ticks)
    if largest >= 1e5 or step < 1e-4:
        return f"{tick:.2g}"
    return f"{tick:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"
