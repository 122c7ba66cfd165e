"""A check's report as text for a console. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence

from .check import CheckReport, Problem

SHOWN = 8  # cases of one kind of problem; the JSON file holds all


def report_text(report: CheckReport) -> str:
    """Census table, problems by kind, verdict."""
    lines = [f"{report.name}: {report.cases} cases of {report.patients} patients", "", _census(report), ""]
    for severity in ("error", "warning"):
        kinds = dict.fromkeys(p.code for p in report.problems if p.severity == severity)
        for code in kinds:
            same = [p for p in report.problems if p.severity == severity and p.code == code]
            lines += _problem_lines(severity, code, same)
    errors = sum(p.severity == "error" for p in report.problems)
    warnings = len(report.problems) - errors
    verdict = "would spoil a training" if errors else "nothing would spoil a training"
    lines.append(f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}: {verdict}")
    return "\n".join(lines)


def _problem_lines(severity: str, code: str, problems: Sequence[Problem]) -> list[str]:
    lines = [f"{severity}: {code} ({len(problems)})"]
    lines += [f"  {problem.where}: {problem.sentence}" for problem in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"  ... and {len(problems) - SHOWN} more (--json FILE lists all)")
    return lines


def _census(report: CheckReport) -> str:
    folds = list(report.census[0].cases_in_fold) if report.census else []
    rows = [["value", "structure", "voxels", "ml", "cases", *(f"fold {fold}" for fold in folds)]]
    for row in report.census:
        ml = "n/a" if row.ml is None else f"{row.ml:.1f}"
        rows.append(
            [str(row.value), row.name, f"{row.voxels:,}", ml, str(row.cases), *(str(row.cases_in_fold[f]) for f in folds)]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(c.ljust(w) if i == 1 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    )
