"""`unet evaluate`: score a run's validation cases, or any tool's masks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..evaluation.table import EvaluationTable

DESCRIPTION = """Score per case and structure: Dice, IoU, precision, recall, accuracy, surface distances in mm (HD95, NSD)
and volume error in ml; mean with 95 % interval. Two doors:
  unet evaluate RUN_FOLDER                        the run's validation cases; of all folds, every case out of fold
  unet evaluate --predictions DIR --truth DIR     any tool's masks, paired by file name
Writes scores.csv and scores.json."""
EXAMPLE = "unet evaluate --predictions out/ --truth labelsTs/ --labels liver=1,tumour=2 -o scores/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN_FOLDER", nargs="?", type=Path, help="folder of 'unet train'")
    parser.add_argument("--predictions", metavar="DIR", type=Path, help="masks to score (NIfTI, PNG, TIFF, or NAME/mask.*)")
    parser.add_argument("--flips", action="store_true", help="a run: average over mirror images, where the training had them")
    parser.add_argument("--truth", metavar="DIR", type=Path, help="the true masks")
    parser.add_argument(
        "--labels", metavar="NAME=VALUE,...", help="what the values mean (default: those that occur in the truth)"
    )
    parser.add_argument("--overlapping", action="store_true", help="a voxel may belong to several structures")
    parser.add_argument("--pairs", metavar="CSV", type=Path, help="columns prediction,truth[,case,patient_id] if names differ")
    parser.add_argument("--patients", metavar="CSV", type=Path, help="columns case,patient_id: intervals are over patients")
    parser.add_argument("--tolerance", metavar="MM", type=float, help="what NSD forgives, in mm (default 2)")
    parser.add_argument("--pixel-size", metavar="MM", type=float, help="pictures: side of a pixel in mm (default: unknown)")
    parser.add_argument(
        "-o", "--out", metavar="DIR", type=Path, help="where the scores are written (default: beside what is scored)"
    )


def run(arguments: argparse.Namespace) -> int:
    from ..evaluation.table_text import table_text

    if arguments.run is not None:
        evaluation, files = _evaluate_run(arguments)
    else:
        evaluation, files = _evaluate_pairs(arguments)
    print(table_text(evaluation))
    for notice in evaluation.notices:
        print(f"note: {notice}")
    print("\n".join(f"{path} written" for path in files))
    return 0


def _evaluate_run(arguments: argparse.Namespace) -> tuple[EvaluationTable, tuple[Path, ...]]:
    from ..errors import UserError

    for option in ("predictions", "truth", "labels", "pairs", "patients", "tolerance", "pixel_size", "overlapping"):
        if getattr(arguments, option):
            word = f"--{option.replace('_', '-')}"
            raise UserError("does not go with a run folder, which knows its own", where=word, next=f"Leave {word} away.")
    from ..training.cross_folder import is_cross_validation  # loads torch: not for a wrong option

    folder = arguments.out or arguments.run / "scores"
    if is_cross_validation(arguments.run):
        from ..inference.out_of_fold import evaluate_folds

        if arguments.flips:
            what, advice = "is for one run: the masks of all folds are made without", "Name a fold's folder, FOLDER/fold_0."
            raise UserError(what, where="--flips", next=advice)
        return evaluate_folds(arguments.run, folder), (folder / "scores.csv", folder / "scores.json")
    from ..inference.evaluate_run import evaluate_run

    return evaluate_run(arguments.run, folder, flips=arguments.flips), (folder / "scores.csv", folder / "scores.json")


def _evaluate_pairs(arguments: argparse.Namespace) -> tuple[EvaluationTable, tuple[Path, ...]]:
    from ..errors import UserError
    from ..evaluation.pairs import evaluate_pairs, find_pairs, table_of_truth
    from ..evaluation.surface import NSD_TOLERANCE_MM
    from ..labels import label_table, parse_labels

    if arguments.flips:
        raise UserError("goes with a run folder: masks are finished", where="--flips", next="Leave --flips away.")
    if arguments.predictions is None or arguments.truth is None:
        raise UserError("name a run folder, or --predictions DIR and --truth DIR", next="'unet evaluate --help' shows both.")
    pairs, notices = find_pairs(arguments.predictions, arguments.truth, table=arguments.pairs, patients=arguments.patients)
    if arguments.labels:
        table = label_table(parse_labels(arguments.labels), overlapping=arguments.overlapping)
    else:
        table = table_of_truth(pairs)
    evaluation = evaluate_pairs(
        pairs,
        table,
        tolerance_mm=NSD_TOLERANCE_MM if arguments.tolerance is None else arguments.tolerance,
        pixel_size_mm=arguments.pixel_size,
        notices=notices,
    )
    return evaluation, evaluation.write(arguments.out or arguments.predictions)
