"""`unet check`: find everything that would spoil a training."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """Find every problem of a data set in one go: missing and changed files, grids that differ, wrong
label values, empty masks, NaN, identical images, patients in two folds, structures that never occur.
Exit code 2 when anything would spoil a training."""
EXAMPLE = "unet check data_manifests/liver.json --picture liver.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", metavar="MANIFEST", type=Path, help="JSON file from 'unet manifest'")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all problems and the census as JSON")
    parser.add_argument("--picture", metavar="FILE.png", type=Path, help="write one picture of every case with its mask")
    parser.add_argument("--data", metavar="FOLDER", type=Path, help="where the data lie now, if not where the manifest says")


def run(arguments: argparse.Namespace) -> int:
    import json

    from ..data.check import check_manifest
    from ..data.check_text import report_text
    from ..data.manifest import read_manifest
    from ..io.paths import write_text

    manifest = read_manifest(arguments.manifest, data_root=arguments.data)
    report = check_manifest(manifest)
    print(report_text(report))
    if arguments.json:
        write_text(arguments.json, json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n")
        print(f"{arguments.json} written")
    if arguments.picture:
        from ..report.contact_sheet import write_contact_sheet

        shown = write_contact_sheet(manifest, arguments.picture)
        print(f"{arguments.picture} written: {shown} of {len(manifest.cases)} cases")
    return 0 if report.ok else 2
