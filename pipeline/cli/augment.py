"""`unet augment`: a picture of what the network will see in training."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """Draw what the network will see in training: originals beside draws of each distortion alone and of all
together, masks drawn in as outlines. Nothing is trained. A manifest is planned as 'unet train' would plan it."""
EXAMPLE = "unet augment data_manifests/liver.json -o page.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="EXPERIMENT|MANIFEST", type=Path, help="experiment (.yaml) or manifest (.json)")
    parser.add_argument("-o", "--out", metavar="FILE.png", type=Path, required=True, help="the picture")
    parser.add_argument("--fold", metavar="K|none", help="the fold that is left out, as in 'unet train' (default 0)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, as in 'unet train'")
    parser.add_argument("--data", metavar="ROOT", help="where the data lie now, if not where the manifest says")


def run(arguments: argparse.Namespace) -> int:
    from ..training.preview import preview
    from .train import fold_of, settings_of

    made = preview(
        arguments.source,
        arguments.out,
        fold=fold_of(arguments.fold),
        settings=settings_of(arguments.set),
        data_root=arguments.data,
    )
    print(f"page         {made.picture}: {made.cases_shown} of {made.cases} training cases")
    print(f"share of the samples  {made.shares}")
    return 0
