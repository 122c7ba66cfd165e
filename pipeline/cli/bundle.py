"""`unet bundle build`: arguments of packaging."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from ..bundle.checks import Checks
    from ..bundle.contents import Checkpoint

DESCRIPTION = """Package a run, or all folds as one ensemble, as a MONAI bundle that 'unet predict' and
'python -m monai.bundle run' execute. No patient data travels in it."""
EXAMPLE = "unet bundle build runs/NAME -o bundles/NAME"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("build",), help="what to do")
    parser.add_argument("run_folder", metavar="RUN_FOLDER", help="of 'unet train'")
    parser.add_argument("-o", "--out", required=True, metavar="BUNDLE", help="the bundle's folder, e.g. bundles/NAME")
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best", help="which weights (default: best)")
    parser.add_argument("--fold", type=int, metavar="K", help="of all folds, this one's model instead of their ensemble")
    parser.add_argument("--no-check", action="store_true", help="do not compare bf16 and the body box on the run's cases")
    parser.add_argument("--int8", action="store_true", help="prepare it for 'unet predict --precision int8', and compare that")
    parser.add_argument("--bundle-version", default="0.1.0", metavar="VERSION", help="the bundle's own version (default 0.1.0)")


def run(arguments: argparse.Namespace) -> int:
    from ..bundle.build import build_bundle

    if arguments.int8 and arguments.no_check:
        what = "what int8 loses is measured on the run's cases, and stands in the model card"
        raise UserError(what, where="--no-check", next="Leave one of the two away.")
    bundle = build_bundle(
        arguments.run_folder,
        arguments.out,
        checkpoint=arguments.checkpoint,
        version=arguments.bundle_version,
        fold=arguments.fold,
        check=None if arguments.no_check else partial(_checked, int8=arguments.int8),
    )
    print(f"bundle    {bundle.path}")
    print(f"segments  {', '.join(bundle.recipe.table.names)}")
    if bundle.members > 1:
        print(f"members   {bundle.members}, one a fold")
    for name, steps in bundle.recipe.postprocessing.items():
        print(f"after it  {name}: {steps}")
    print(f"next      unet predict {bundle.path} DICOM_FOLDER -o predictions")
    return 0


def _checked(run_folder: Path, checkpoint: Checkpoint, *, int8: bool) -> Checks | None:
    """A bundle can be built where the scans are not: then nothing is compared, and the model card says so."""
    from ..inference.check_run import check_run
    from ..progress import say

    try:
        checks = check_run(run_folder, checkpoint, int8=int8)
    except UserError as error:
        if int8:
            raise
        say(f"unet: not compared on the run's cases: {error}")
        return None
    for line in str(checks).splitlines():
        print(f"checked   {line}")
    return checks
