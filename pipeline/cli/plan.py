"""`unet plan`: an experiment file from a manifest, and what its training will take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..training.forecast import Forecast

DESCRIPTION = """Plan a training from the data, each choice with its reason, and say what it will take: memory, time an epoch.
A few steps are trained on one or two cases for that (about half a minute); nothing of them is kept. Edit the file, then train
it. Of an experiment (.yaml) the forecast alone is made."""
EXAMPLE = "unet plan data_manifests/NAME.json --time-budget 2h -o NAME.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="MANIFEST|EXPERIMENT", help="manifest (.json), or an experiment (.yaml) to forecast")
    parser.add_argument("-o", "--out", metavar="FILE.yaml", help="the experiment; absent: only the forecast is printed")
    parser.add_argument("--fold", metavar="K|none", help="the fold that is validated on, as in 'unet train' (default 0)")
    parser.add_argument("--time-budget", metavar="TIME", help="for which to plan, e.g. 2h, as in 'unet train'")
    parser.add_argument("--max-ram", metavar="SIZE", help="into which the training must fit, e.g. 8G")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, as in 'unet train'")
    parser.add_argument("--data", metavar="ROOT", help="where the data lie now, if not where the manifest says")


def run(arguments: argparse.Namespace) -> int:
    from .memory_size import bytes_of
    from .train import fold_of, settings_of

    max_ram_bytes = bytes_of(arguments.max_ram)
    fold, settings = fold_of(arguments.fold), settings_of(arguments.set)
    from ..training.schedule import parse_duration

    budget_s = parse_duration(arguments.time_budget, where="--time-budget") if arguments.time_budget else None
    from ..training.plan_file import plan_training

    planned = plan_training(
        arguments.source,
        arguments.out,
        fold=fold,
        budget_s=budget_s,
        max_ram_bytes=max_ram_bytes,
        settings=settings,
        data_root=arguments.data,
    )
    if arguments.out:
        print(f"{'plan':<13}{arguments.out}")
    for name, line in _forecast_lines(planned.forecast, budget_s, planned.experiment.epochs):
        print(f"{name:<13}{line}")
    place = arguments.out or arguments.source
    print(f"{'next':<13}{_train_command(arguments, place)}")
    return 0


def _forecast_lines(forecast: Forecast, budget_s: float | None, epochs: int) -> list[tuple[str, str]]:
    """Name and words of each line, with what is measured and what is worked out from it."""
    probed = forecast.probed
    parts = [f"training {_gb(forecast.training_bytes)} ({probed.steps} steps measured)"]
    if probed.workers_bytes:
        parts.append(f"preparing samples {_gb(probed.workers_bytes)} (measured)")
    first = f"preprocessing before it {_gb(forecast.preprocessing_bytes)} (estimated for the largest case)"
    memory = f"{_gb(forecast.peak_bytes)} at most: {' + '.join(parts)}; {first}"
    epoch = f"{_time(forecast.epoch_s)}: {forecast.steps_per_epoch} steps of {probed.step_s:.2f} s (measured)"
    if forecast.validated:
        cases = f"{forecast.validated} cases (estimated from {probed.validated_shapes})"
        epoch += f", {_time(forecast.validation_s)} to validate {cases}"
    start = f"{_time(forecast.start_s)} before the first step: {forecast.cases} cases to preprocess (estimated from one or two)"
    lines = [("memory", memory), ("an epoch", epoch), ("start", start)]
    if probed.gpu_bytes:
        lines.insert(1, ("GPU memory", f"{_gb(probed.gpu_bytes)} (measured)"))
    if budget_s is None:
        return [*lines, ("in all", f"{_time(forecast.whole_s(epochs))} for {epochs} epochs")]
    number = forecast.epochs_within(budget_s)
    enough = f"about {number:.0f} epochs" if number >= 1 else "less than one epoch: give more time"
    return [*lines, ("in all", f"{_time(budget_s)} give {enough}")]


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _train_command(arguments: argparse.Namespace, place: str) -> str:
    """What to type to train what was planned."""
    from pathlib import Path

    words = [f"unet train {place}"]
    words += [f"--fold {arguments.fold}"] if arguments.fold else []
    words += [f"--time-budget {arguments.time_budget}"] if arguments.time_budget else []
    if not arguments.out:
        words += [f"--set {word}" for word in arguments.set]
    return " ".join([*words, f"-o runs/{Path(place).stem}"])
