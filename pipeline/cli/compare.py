"""`unet compare`: runs against the first, case by case."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """Compare two or more runs with the first, on the cases that all of them scored: per structure and measure the
means, the difference with its 95 % interval (bootstrap over patients), a signed-rank test, how many cases got better or worse,
and which lost the most. Runs that share no case, belong to other data or were trained on what is compared are refused.
RUN is a folder of 'unet train' that 'unet evaluate' has scored, or a scores.json (of any tool's masks)."""
EXAMPLE = "unet compare runs/base runs/wider -o wider.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="run folders or scores.json files; the first is A")
    parser.add_argument("--json", metavar="FILE.json", type=Path, help="write every number, case by case")
    parser.add_argument("-o", "--out", metavar="PAGE.html", type=Path, help="write a page that needs no network")
    parser.add_argument("--picture", metavar="FILE.png", type=Path, help="write a picture of the differences, a dot a case")
    parser.add_argument("--overwrite", action="store_true", help="replace result files that exist")


def run(arguments: argparse.Namespace) -> int:
    from ..errors import printable
    from ..evaluation.compare import compare_runs
    from ..evaluation.compare_text import comparison_text
    from ..progress import say
    from ..report.comparison import ComparisonFiles
    from ..training.scored_run import open_scored_runs

    files = ComparisonFiles(numbers=arguments.json, page=arguments.out, picture=arguments.picture)
    runs = open_scored_runs(arguments.runs)
    files.check([run.file for run in runs], overwrite=arguments.overwrite)
    comparison = compare_runs(runs)
    written = files.write(comparison)
    print(printable(comparison_text(comparison)))
    for path in written:
        say(f"{path} written")
    return 0
