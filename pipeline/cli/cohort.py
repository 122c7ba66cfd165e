"""`unet cohort`: arguments of a cohort, and what is printed at its end."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from .segmenting import add_computing_options, add_file_options, computing, formats

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ..cohort.job import Job
    from ..cohort.local import Execute

DESCRIPTION = """Segment many series with a bundle: those of a CSV list, or all DICOM volumes and NIfTI files of a folder tree.
Writes OUT/<name>/ as 'unet predict' does, and OUT/cohort.csv and cohort.html, the doubtful first. May be stopped or killed at
any time: the same command goes on. What failed is listed with its reason and tried again by the next call."""
EXAMPLE = "unet cohort bundles/NAME list.csv -o cohort"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of 'unet bundle build'")
    parser.add_argument("list", metavar="LIST", help="CSV with a column path, or a folder of scans")
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="where predictions and table go; kept between calls")
    parser.add_argument("--part", default="1/1", metavar="I/N", help="only every N-th series, from the I-th: for job arrays")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes side by side, cores divided among them")
    parser.add_argument("--scheduler", default="", metavar="ADDRESS", help="run on this Dask cluster instead")
    add_file_options(parser)
    add_computing_options(parser)


def run(arguments: argparse.Namespace) -> int:
    from ..bundle.bundle import open_bundle
    from ..cohort.job import Job
    from ..cohort.listing import list_units, part_of
    from ..cohort.run import run_cohort
    from ..cohort.table import PAGE, TABLE

    if arguments.workers < 1:
        raise UserError(f"{arguments.workers} is no number of workers: 1 or more", where="--workers")
    if arguments.workers > 1 and arguments.scheduler:
        raise UserError("the cluster of --scheduler has its own workers", where="--workers", next="Give one of the two.")
    bundle = open_bundle(arguments.bundle)
    out = Path(arguments.out).absolute()
    settings = computing(arguments)
    if settings["max_ram_bytes"] is not None:
        settings["max_ram_bytes"] //= arguments.workers
    job = Job(
        bundle=bundle.path.absolute(),
        bundle_name=bundle.name,
        bundle_sha256=bundle.digest,
        out=out,
        formats=tuple(formats(arguments).items()),
        page=arguments.page,
        accept_irregular=arguments.accept_irregular,
        **settings,
    )
    part = part_of(arguments.part)
    units = list_units(arguments.list, out=out, part=part)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler that takes the machine back: as Ctrl-C
    try:
        outcomes, table = run_cohort(job, units, _executor(job, arguments), whole=part == (1, 1))
    finally:
        signal.signal(signal.SIGTERM, before)
    print(outcomes)
    print(f"{out / TABLE}\n{out / PAGE}: {len(table.lines)} series, the doubtful first")
    return outcomes.exit_code


def _executor(job: Job, arguments: argparse.Namespace) -> AbstractContextManager[Execute]:
    from ..cohort.local import in_this_process, in_workers

    if arguments.scheduler:
        from ..cohort.scheduler import on_cluster

        return on_cluster(job, arguments.scheduler)
    return in_workers(job, arguments.workers) if arguments.workers > 1 else in_this_process(job)
