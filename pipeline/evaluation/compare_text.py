"""A comparison as text: the table, the worst changes, and what the numbers do and do not show. Rounds for the eye."""

from __future__ import annotations

from collections.abc import Sequence

from .compare import COMPARED, Comparison, Difference
from .table_text import align

TITLES = {"dice": "Dice", "iou": "IoU", "hd95_mm": "HD95 mm", "nsd": "NSD"}
ROWS_SHOWN = 60  # more than a screen or two helps nobody: the measures beside Dice then stand in the files alone
SIGNIFICANT = 0.05
HEADS = ("difference", "95 % interval", "p", "p (Holm)", "better", "worse", "equal")
EXPLANATION = (
    "difference: mean over the cases of the other run minus A (of HD95 less is better); interval: bootstrap over patients; "
    "p: Wilcoxon signed-rank test on patients' mean differences, two-sided; p (Holm): corrected for all rows of the same "
    "measure, not for looking at several measures; n/a: cases without a number in both runs, left out"
)
LIMITS = (
    "Each run is one training. Another seed of the same settings gives other scores, too: a difference between two runs is not "
    "yet one between two methods. And these cases may have chosen each run's best epoch, so absolute scores are flattered."
)


def comparison_text(comparison: Comparison, *, files: str = "--json FILE or -o PAGE.html") -> str:
    """All of it for a console."""
    parts = [head(comparison), "", align(rows_of(comparison, ("dice",)), left=3)]
    others = [name for name in COMPARED if name != "dice" and comparison.of(name)]
    rest = rows_of(comparison, others)
    if len(rest) > ROWS_SHOWN:
        parts += ["", f"{len(rest) - 1} rows of the other measures: {files} holds them"]
    elif len(rest) > 1:
        parts += ["", align(rest, left=3)]
    parts += ["", EXPLANATION]
    worst = worst_changes(comparison)
    if worst:
        parts += ["", "the greatest losses of Dice against A:", *worst]
    parts += ["", *(f"note: {notice}" for notice in comparison.notices)] if comparison.notices else []
    parts += ["", *conclusions(comparison)]
    return "\n".join(parts)


def head(comparison: Comparison) -> str:
    """Which letter is which run, and on how many cases they are compared."""
    lines = [f"{letter}: {name}" for letter, name in comparison.runs.items()]
    return "\n".join([*lines, f"{len(comparison.cases)} cases of {comparison.patients} patients are in all of them"])


def rows_of(comparison: Comparison, measures: Sequence[str]) -> list[tuple[str, ...]]:
    """A head and one row a measure, run and structure."""
    other = "B" if len(comparison.runs) == 2 else "the other"
    rows: list[tuple[str, ...]] = [("measure", "run", "structure", "cases", "n/a", "A", other, *HEADS)]
    rows += [_row(difference) for measure in measures for difference in comparison.of(measure)]
    return rows


def worst_changes(comparison: Comparison) -> list[str]:
    """A line for each run and structure that lost Dice in some case."""
    lines = []
    for difference in comparison.of("dice"):
        cases = [f"{c.case} {c.difference:+.3f} ({c.first:.3f} to {c.second:.3f})" for c in difference.worst()]
        if cases:
            lines.append(f"  {difference.letter}, {difference.structure}: {', '.join(cases)}")
    return lines


def conclusions(comparison: Comparison) -> list[str]:
    """One sentence a run and structure on what its Dice shows, then what no such table can show."""
    return [*(_conclusion(difference) for difference in comparison.of("dice")), LIMITS]


def title_of(measure: str) -> str:
    return TITLES.get(measure, measure)


def _row(difference: Difference) -> tuple[str, ...]:
    r = difference.result
    interval = "n/a" if r.low is None or r.high is None else f"{_signed(r.low)} to {_signed(r.high)}"
    return (
        title_of(difference.measure),
        difference.letter,
        difference.structure,
        str(r.count),
        str(r.neither + r.only_first + r.only_second),
        _number(r.first),
        _number(r.second),
        _signed(r.difference),
        interval,
        _p(None if r.test is None else r.test.p),
        _p(difference.p_corrected),
        str(difference.better),
        str(difference.worse),
        str(r.equal),
    )


def _conclusion(difference: Difference) -> str:
    r, who = difference.result, f"{difference.letter}, {difference.structure}"
    if r.difference is None:
        return f"{who}: no case has a Dice in both runs; nothing can be compared.{_alarms(difference)}"
    if r.low is None or r.high is None or difference.p_corrected is None:
        return f"{who}: one patient alone shows nothing about others.{_alarms(difference)}"
    apart, rare = r.low > 0 or r.high < 0, difference.p_corrected < SIGNIFICANT
    interval = f"interval {_signed(r.low)} to {_signed(r.high)}, p (Holm) {_p(difference.p_corrected)}"
    facts = f"{_signed(r.difference)} Dice against A ({interval})"
    word = "better" if r.difference > 0 else "worse"
    if r.greater + r.less == 0:
        verdict = "no case differs"
    elif apart and rare:
        verdict = f"{facts}: {word} on these patients, and by more than chance among them explains"
    elif apart:
        verdict = f"{facts}: the interval leaves out 0, but the test does not confirm it: undecided{_out_of_reach(difference)}"
    elif rare:
        verdict = f"{facts}: the test finds a direction, but the interval of the mean includes 0: undecided"
    else:
        verdict = f"{facts}: the interval includes 0, so neither is shown to be better; nor are they shown to be equal"
        verdict += _out_of_reach(difference)
    return f"{who}: {verdict}.{_alarms(difference)}"


def _out_of_reach(difference: Difference) -> str:
    """Few patients cannot give a small p, whatever the scores: 2 of the 2^n changes of sign are the most extreme ones."""
    test = difference.result.test
    if test is None or 2.0 ** (1 - test.patients) < SIGNIFICANT:
        return ""
    return f" ({test.patients} patients that differ cannot give a p below {2.0 ** (1 - max(test.patients, 1)):.3g})"


def _alarms(difference: Difference) -> str:
    """A structure that is absent and marked by one run only has a Dice in that run alone, and no difference."""
    r = difference.result
    said = []
    for count, letter in ((r.only_second, difference.letter), (r.only_first, "A")):
        if count:
            said.append(f"{letter} alone marks it in {count} {'case' if count == 1 else 'cases'} without it")
    return f" Not in the difference: {'; '.join(said)}." if said else ""


def _number(value: float | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _signed(value: float | None) -> str:
    if value is None:
        return "n/a"
    return "0.000" if abs(value) < 5e-4 else f"{value:+.3f}" if abs(value) < 10 else f"{value:+.1f}"


def _p(value: float | None) -> str:
    if value is None:
        return "n/a"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
