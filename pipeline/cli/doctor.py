"""`unet doctor`: what is missing here, and what to type."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """Is this machine ready? Python, packages, device, memory, disk, folders, MLflow, DICOM decoders; each problem
with its fix. Exit code 2 when something would stop the work. Changes nothing."""
EXAMPLE = "unet doctor"

MARKS = {"ok": "ok", "note": "note", "problem": "PROBLEM"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="where you work (default: here)")


def run(arguments: argparse.Namespace) -> int:
    from ..doctor import examine
    from ..io.paths import existing

    findings = examine(existing(arguments.folder).resolve())
    for finding in findings:
        print(f"{MARKS[finding.verdict]:<8} {finding.topic:<9} {finding.value}")
        if finding.fix:
            print(f"{'':<18} → {finding.fix}")
    problems = sum(finding.verdict == "problem" for finding in findings)
    print(f"\n{problems} problem{'s' if problems != 1 else ''} to solve first." if problems else "\nReady: try 'unet demo'.")
    return 2 if problems else 0
