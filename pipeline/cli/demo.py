"""`unet demo`: arguments of the demo, and the lines it ends with."""

from __future__ import annotations

import argparse

DESCRIPTION = """The whole chain in a few minutes: made-up CT scans (or your own data), manifest, check, training, bundle,
prediction of held-out DICOM series, scores, and one page with all of it."""
EXAMPLE = "unet demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DIR", help="your own labelled scans: whatever 'unet manifest' reads")
    parser.add_argument(
        "--labels", default="", metavar="NAME=VALUE,...", help="names of the structures, where your data lack them"
    )
    parser.add_argument("-o", "--out", metavar="FOLDER", help="where everything goes (default: demo, or demo-2, ...)")


def run(arguments: argparse.Namespace) -> int:
    from ..demo import mean_dices, run_demo

    demo = run_demo(arguments.out, data=arguments.data, labels=arguments.labels)
    for name, dice in mean_dices(demo).items():
        print(f"Dice {name:<12}{'n/a' if dice is None else f'{dice:.3f}'}")
    print(f"page        {demo.page}")
    print(f"masks       {demo.predictions}")
    print(f"bundle      {demo.bundle}")
    print("next        unet ui             shows the training in MLflow")
    print("            unet manifest DIR   describes your own scans")
    return 0
