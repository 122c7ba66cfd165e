"""`unet ui`: MLflow's page of all trainings."""

from __future__ import annotations

import argparse

DESCRIPTION = """Open the MLflow page of all trainings: curves, settings, pictures. It listens on this machine only and runs
until Ctrl-C. The runs are those of mlruns/ in this folder; MLFLOW_TRACKING_URI names another place."""
EXAMPLE = "unet ui --port 5000"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, metavar="N", help="absent: 5000 or the next free one")


def run(arguments: argparse.Namespace) -> int:
    import signal

    from ..progress import say
    from ..tracking.page import mlflow_page

    for word in (signal.SIGTERM, signal.SIGINT):  # a polite end is as good as Ctrl-C; behind "&" Ctrl-C would be ignored
        signal.signal(word, signal.default_int_handler)
    say("starting MLflow's page ...")
    try:
        with mlflow_page(arguments.port) as page:
            print(f"MLflow: {page.address}", flush=True)
            if page.process is not None:
                say("Ctrl-C ends it.")
            page.wait()
    except KeyboardInterrupt:
        say("ended.")
    return 0
