"""`unet bundle build`: arguments of packaging."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..bundle.checks import Checks

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
    parser.add_argument("--bundle-version", default="0.1.0", metavar="VERSION", help="the bundle's own version (default 0.1.0)")


def run(arguments: argparse.Namespace) -> int:
    from ..bundle.build import build_bundle

    bundle = build_bundle(
        arguments.run_folder,
        arguments.out,
        checkpoint=arguments.checkpoint,
        version=arguments.bundle_version,
        fold=arguments.fold,
        check=None if arguments.no_check else _checked,
    )
    print(f"bundle    {bundle.path}")
    print(f"segments  {', '.join(bundle.recipe.table.names)}")
    if bundle.members > 1:
        print(f"members   {bundle.members}, one a fold")
    for name, steps in bundle.recipe.postprocessing.items():
        print(f"after it  {name}: {steps}")
    print(f"next      unet predict {bundle.path} DICOM_FOLDER -o predictions")
    return 0


def _checked(run_folder: Path) -> Checks | None:
    """A bundle can be built where the scans are not: then nothing is compared, and the model card says so."""
    from ..errors import UserError
    from ..inference.check_run import check_run
    from ..progress import say

    try:
        checks = check_run(run_folder)
    except UserError as error:
        say(f"unet: not compared on the run's cases: {error}")
        return None
    for line in str(checks).splitlines():
        print(f"checked   {line}")
    return checks
