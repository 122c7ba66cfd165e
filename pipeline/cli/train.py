"""`unet train`: arguments of a training."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """Train the original U-Net on a manifest (the experiment is planned from the data) or by an experiment file.
Ctrl-C stops in good order; --resume goes on. Every run is tracked by MLflow: 'unet ui' shows it."""
EXAMPLE = "unet train data_manifests/NAME.json --fold 0 --time-budget 20m -o runs/NAME"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", nargs="?", metavar="EXPERIMENT|MANIFEST", help="experiment (.yaml) or manifest (.json)")
    parser.add_argument("--fold", default="0", metavar="K|none", help="the fold to validate on; none: train on all cases")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--epochs", type=int, metavar="N", help="length of the training")
    limit.add_argument("--time-budget", metavar="TIME", help="of the whole process, e.g. 20m; the schedule ends with it")
    parser.add_argument("--resume", action="store_true", help="go on with the run in -o")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, e.g. network.width=32")
    parser.add_argument("--data", metavar="ROOT", help="where the data lie now, if not where the manifest says")
    parser.add_argument("-o", "--out", required=True, metavar="RUN_FOLDER", help="where the run keeps its files")


def run(arguments: argparse.Namespace) -> int:
    from ..errors import UserError
    from ..training.schedule import parse_duration

    budget_s = parse_duration(arguments.time_budget, where="--time-budget") if arguments.time_budget else None
    if arguments.resume:
        from ..training.train import resume

        folder = resume(arguments.out, budget_s=budget_s, data_root=arguments.data)
    elif arguments.source is None:
        raise UserError("name an experiment or a manifest", where="unet train", next=f"Example: {EXAMPLE}")
    else:
        if arguments.fold != "none" and not arguments.fold.isdigit():
            raise UserError(f"'{arguments.fold}' is not a fold", where="--fold", next="A number from 0, or none.")
        settings = _settings(arguments.set)
        from ..training.train import train

        folder = train(
            arguments.source,
            arguments.out,
            fold=None if arguments.fold == "none" else int(arguments.fold),
            epochs=arguments.epochs,
            budget_s=budget_s,
            settings=settings,
            data_root=arguments.data,
        )
    facts = folder.facts()
    if not facts.get("finished"):
        return 130
    print(f"run folder   {folder.path}")
    print(f"page         {folder.path / 'report.html'}")
    if facts.get("best_dice") is not None:
        print(f"best Dice    {float(str(facts['best_dice'])):.4f} at epoch {facts['best_epoch']} of {facts['epochs_done']}")
    print(f"next         unet bundle build {folder.path} -o bundles/{Path(folder.path).name}")
    return 0


def _settings(words: list[str]) -> dict[str, object]:
    import yaml

    from ..errors import UserError

    settings = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"'{word}' is not NAME=VALUE", where="--set", next="Example: --set network.width=32")
        settings[name.strip()] = yaml.safe_load(value)
    return settings
