"""`unet train`: arguments of a training."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

DESCRIPTION = """Train the original U-Net on a manifest (the experiment is planned from the data) or by an experiment file.
Ctrl-C stops in good order; --resume goes on. Every run is tracked by MLflow: 'unet ui' shows it."""
EXAMPLE = "unet train data_manifests/NAME.json --fold 0 --time-budget 20m -o runs/NAME"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", nargs="?", metavar="EXPERIMENT|MANIFEST", help="experiment (.yaml) or manifest (.json)")
    folds = parser.add_mutually_exclusive_group()
    folds.add_argument("--fold", metavar="K|none", help="the fold to validate on (default 0); none: train on all cases")
    folds.add_argument("--folds", metavar="all", help="all: train every fold in turn, then score each case out of fold")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--epochs", type=int, metavar="N", help="length of the training")
    limit.add_argument("--time-budget", metavar="TIME", help="of the whole process, e.g. 20m; the schedule ends with it")
    parser.add_argument("--resume", action="store_true", help="go on with the run in -o")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, e.g. network.width=32")
    parser.add_argument("--data", metavar="ROOT", help="where the data lie now, if not where the manifest says")
    parser.add_argument("-o", "--out", metavar="RUN_FOLDER", required=True, help="where the run keeps its files")


def run(arguments: argparse.Namespace) -> int:
    from ..process import age_s
    from ..training.schedule import parse_duration

    budget_s = parse_duration(arguments.time_budget, where="--time-budget") if arguments.time_budget else None
    if arguments.resume:
        _refuse_beside_resume(arguments)
        from ..training.cross_folder import is_cross_validation

        if is_cross_validation(arguments.out):
            return _all_folds(arguments, budget_s)
        from ..training.train import resume

        folder = resume(arguments.out, budget_s=budget_s, used_s=age_s(), data_root=arguments.data)
    elif arguments.folds is not None:
        return _all_folds(arguments, budget_s)
    else:
        choices = _choices(arguments, budget_s)
        from ..training.train import train

        folder = train(arguments.source, arguments.out, used_s=age_s(), **choices)
    facts = folder.facts()
    if not facts.get("finished"):
        return 130
    print(f"run folder   {folder.path}")
    print(f"page         {folder.path / 'report.html'}")
    if facts.get("best_dice") is not None:
        print(f"best Dice    {float(str(facts['best_dice'])):.4f} at epoch {facts['best_epoch']} of {facts['epochs_done']}")
    print(f"next         unet bundle build {folder.path} -o bundles/{Path(folder.path).name}")
    return 0


def _all_folds(arguments: argparse.Namespace, budget_s: float | None) -> int:
    """A cross-validation, begun or gone on with; then the masks and scores of all cases."""
    from ..process import age_s

    choices = {} if arguments.resume else _choices(arguments, budget_s)
    from ..training.cross_validation import cross_validate, resume_folds

    if arguments.resume:
        cross = resume_folds(arguments.out, budget_s=budget_s, used_s=age_s(), data_root=arguments.data)
    else:
        del choices["fold"]
        cross = cross_validate(arguments.source, arguments.out, used_s=age_s(), **choices)
    if cross.unfinished:
        return 130
    from ..evaluation.table_text import table_text
    from ..inference.out_of_fold import evaluate_folds
    from ..progress import say

    try:
        table = evaluate_folds(cross.path)
    except KeyboardInterrupt:
        say(f"unet: every fold is trained; go on with: unet train --resume -o {cross.path}")
        raise
    print(table_text(table))
    for notice in table.notices:
        print(f"note: {notice}")
    print(f"folder       {cross.path}")
    print(f"masks        {cross.masks}")
    print(f"scores       {cross.scores / 'scores.csv'}")
    print(f"next         unet bundle build {cross.path} -o bundles/{Path(cross.path).name}")
    return 0


def _choices(arguments: argparse.Namespace, budget_s: float | None) -> dict[str, Any]:
    """What the words after `unet train` choose, as arguments of `train`."""
    from ..errors import UserError

    if arguments.source is None:
        raise UserError("name an experiment or a manifest", where="unet train", next=f"Example: {EXAMPLE}")
    if arguments.folds not in (None, "all"):
        what = f"'{arguments.folds}' is not what --folds takes"
        raise UserError(what, where="--folds", next="all, for every fold in turn; --fold K for one.")
    settings = settings_of(arguments.set)
    if arguments.epochs is not None:
        settings["epochs"] = arguments.epochs
    return {"fold": fold_of(arguments.fold), "budget_s": budget_s, "settings": settings, "data_root": arguments.data}


def _refuse_beside_resume(arguments: argparse.Namespace) -> None:
    """A run goes on as it began: what would change it is refused, not ignored."""
    from ..errors import UserError

    given = {
        "EXPERIMENT|MANIFEST": arguments.source,
        "--fold": arguments.fold,
        "--folds": arguments.folds,
        "--epochs": arguments.epochs,
        "--set": arguments.set,
    }
    wrong = [name for name, value in given.items() if value not in (None, [])]
    if wrong:
        what = f"{', '.join(wrong)} cannot be given with --resume: a run goes on with what it began with"
        raise UserError(what, where="unet train", next="Leave it out, or train anew into another folder with -o.")


def fold_of(word: str | None) -> int | None:
    from ..errors import UserError

    if word == "none":
        return None
    if word is not None and not (word.isascii() and word.isdecimal()):
        raise UserError(f"'{word}' is not a fold", where="--fold", next="A number from 0, or none.")
    return int(word or 0)


def settings_of(words: list[str]) -> dict[str, object]:
    import yaml

    from ..errors import UserError

    settings = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"'{word}' is not NAME=VALUE", where="--set", next="Example: --set network.width=32")
        try:
            settings[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(
                f"the value of '{word}' cannot be read", where="--set", next="Example: --set patch=[64,64]"
            ) from error
    return settings
