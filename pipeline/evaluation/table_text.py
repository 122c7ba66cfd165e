"""An evaluation table as text for a console. Decides nothing, rounds for the eye."""

from __future__ import annotations

from collections.abc import Sequence

from .table import EvaluationTable, Row

HEADS = ("Dice", "IoU", "precision", "recall", "accuracy", "HD95 mm", "NSD", "volume error ml")
ROWS_SHOWN = 40  # more than a screen helps nobody: then the worst of each structure are named


def table_text(evaluation: EvaluationTable) -> str:
    """Summary by structure, then every row (or, of many, the worst of each structure)."""
    parts = [_summary(evaluation), ""]
    if len(evaluation.rows) <= ROWS_SHOWN:
        parts.append(_cases(evaluation.rows))
    else:
        worst = [row for name in evaluation.table.names for row in _worst(evaluation, name)]
        parts += [f"the lowest Dice of each structure (all {len(evaluation.rows)} rows stand in scores.csv):", _cases(worst)]
    return "\n".join(parts)


def align(rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Columns under each other, two blanks apart; the first `left` columns start left, the others end right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = (c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _summary(evaluation: EvaluationTable) -> str:
    patients = len({row.patient_id for row in evaluation.rows})
    rows: list[tuple[str, ...]] = [("structure", "n", "n/a", "Dice", "95 % interval", *HEADS[1:])]
    for name, means in evaluation.summary().items():
        dice, *others = means.values()
        interval = "n/a" if dice.low is None else f"{_number(dice.low)} to {_number(dice.high)}"
        cells = (_number(m.value) + (f" ({m.count})" if m.count != dice.count else "") for m in others)
        rows.append((name, str(dice.count), str(dice.left_out), _number(dice.value), interval, *cells))
    lines = [f"{len(evaluation.cases)} cases of {patients} patients", "", align(rows)]
    overall = evaluation.mean_dice()
    if len(evaluation.table.names) > 1 and overall.value is not None:
        lines.append(f"mean Dice of {overall.count} structures: {overall.value:.4f}")
    lines.append(
        f"means over n cases (another number of cases in brackets); n/a: cases with the structure in neither mask; interval: "
        f"bootstrap over patients, the others' stand in scores.json; NSD forgives {evaluation.tolerance_mm:g} mm"
    )
    return "\n".join(lines)


def _cases(rows: Sequence[Row]) -> str:
    lines: list[tuple[str, ...]] = [("case", "structure", *HEADS)]
    for row in rows:
        lines.append((row.case, row.structure, *(_number(v) for v in row.measures().values())))
    return align(lines, left=2)


def _worst(evaluation: EvaluationTable, name: str, count: int = 5) -> list[Row]:
    scored = [row for row in evaluation.rows if row.structure == name and row.scores.dice is not None]
    return sorted(scored, key=lambda row: (row.scores.dice or 0.0, row.case))[:count]


def _number(value: float | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
