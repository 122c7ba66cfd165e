"""`unet bundle build`: arguments of packaging."""

from __future__ import annotations

import argparse

DESCRIPTION = """Package a run, or all folds as one ensemble, as a MONAI bundle that 'unet predict' and
'python -m monai.bundle run' execute. No patient data travels in it."""
EXAMPLE = "unet bundle build runs/NAME -o bundles/NAME"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("build",), help="what to do")
    parser.add_argument("run_folder", metavar="RUN_FOLDER", help="of 'unet train'")
    parser.add_argument("-o", "--out", required=True, metavar="BUNDLE", help="the bundle's folder, e.g. bundles/NAME")
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best", help="which weights (default: best)")
    parser.add_argument("--fold", type=int, metavar="K", help="of all folds, this one's model instead of their ensemble")
    parser.add_argument("--bundle-version", default="0.1.0", metavar="VERSION", help="the bundle's own version (default 0.1.0)")


def run(arguments: argparse.Namespace) -> int:
    from ..bundle.build import build_bundle

    bundle = build_bundle(
        arguments.run_folder,
        arguments.out,
        checkpoint=arguments.checkpoint,
        version=arguments.bundle_version,
        fold=arguments.fold,
    )
    print(f"bundle    {bundle.path}")
    print(f"segments  {', '.join(bundle.recipe.table.names)}")
    if bundle.members > 1:
        print(f"members   {bundle.members}, one a fold")
    for name, steps in bundle.recipe.postprocessing.items():
        print(f"after it  {name}: {steps}")
    print(f"next      unet predict {bundle.path} DICOM_FOLDER -o predictions")
    return 0
