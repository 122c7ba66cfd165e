"""`unet inspect`: what a folder holds and what `unet predict` would take of it."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """What lies in a DICOM folder, file or zip (or a NIfTI file or picture): patients (counted, never named),
studies, series and their volumes, how the slices lie in mm, what is set aside and why, and what 'unet predict' would take
or refuse. Exit code 2 when nothing can be read."""
EXAMPLE = "unet inspect STUDY_FOLDER --picture planes.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input", type=Path, metavar="FOLDER", help="DICOM folder (sub-folders included), file or zip; NIfTI; picture"
    )
    parser.add_argument("--series", default="", metavar="S", help="series number, or the last 8 digits of its UID")
    parser.add_argument("--volume", default="", metavar="V", help="name or number of one volume of the series")
    parser.add_argument("--accept-irregular", action="store_true", help="as 'unet predict' with this option would take it")
    parser.add_argument("--headers", action="store_true", help="do not try the pixels of what is taken: quicker")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="write three planes of what is taken")


def run(arguments: argparse.Namespace) -> int:
    import json

    from ..errors import UserError
    from ..io.inspect import inspect
    from ..report.inspection_text import inspection_text

    if arguments.picture and arguments.headers:
        raise UserError("a picture needs the pixels, which --headers leaves out", where="--picture", next="Leave one out.")
    seen = inspect(
        arguments.input,
        series=arguments.series,
        volume=arguments.volume,
        accept_irregular=arguments.accept_irregular,
        pixels=not arguments.headers,
    )
    print(json.dumps(seen.to_json(), indent=1) if arguments.json else inspection_text(seen))
    if arguments.picture and seen.volume is not None:
        from ..progress import say
        from ..report.planes import write_planes

        write_planes(seen.volume, arguments.picture)
        say(f"{arguments.picture} written")
    if seen.refusal is not None and (arguments.picture or not seen.usable):
        raise seen.refusal
    return 0
