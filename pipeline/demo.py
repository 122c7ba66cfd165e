"""The whole chain on made-up CT scans or on the user's own data, by the very commands that a user types, ended by one page."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import UserError
from .io.paths import occupied
from .progress import say

# A fixed number of steps, so that a busy machine makes the demo slower and not worse; about two minutes on 2 cores.
MADE_UP_TRAINING = ("--epochs", 8, "--set", "network.width=16")
OWN_TRAINING = ("--time-budget", "150s")
SHOWN = 3  # held-out scans of the user's own data that are predicted
BARS = {"organ": 0.90, "lesion": 0.75}  # Dice on the held-out series that the made-up scans must reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Where everything of one demo lies."""

    folder: Path
    commands: list[str] = field(default_factory=list)

    @property
    def manifest(self) -> Path:
        return self.folder / "data_manifests" / "demo.json"

    @property
    def run_folder(self) -> Path:
        return self.folder / "run"

    @property
    def bundle(self) -> Path:
        return self.folder / "bundles" / "demo"

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions"

    @property
    def scores(self) -> Path:
        return self.folder / "scores"

    @property
    def page(self) -> Path:
        return self.folder / "demo.html"

    def run(self, stage: str, *words: object, show: bool = False) -> str:
        """One command of the chain in a process of its own, with one line that says what it does and how long it took.

        Returns: what the command printed.
        Raises: UserError with the command's own last line where it fails.
        """
        line = " ".join(str(word) for word in words)
        self.commands.append(f"unet {line}")
        say(f"{stage:<11}unet {line}")
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", __package__, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=None if show else subprocess.PIPE,
            text=True,
        )
        if done.returncode == 130:
            raise KeyboardInterrupt
        if done.returncode:
            last = (done.stderr or done.stdout or "see above").strip().splitlines()[-1]
            raise UserError(f"'unet {words[0]}' failed: {last}", where="demo")
        say(f"{'':<11}{time.monotonic() - started:.0f} s")
        return done.stdout


def run_demo(folder: Path | str | None = None, *, data: Path | str | None = None, labels: str = "") -> Demo:
    """Run the chain.

    Args:
        folder: where everything goes; must not exist or be empty. Absent: demo, or demo-2 and so on where it is taken.
        data: the user's labelled scans, any source of `unet manifest`; absent: made-up CT scans.
        labels: for `unet manifest --labels`, where the data do not name their structures.
    Raises: UserError where a stage fails, or the made-up scans are segmented worse than they must be.
    """
    demo = Demo(folder=_free_folder() if folder is None else Path(folder))
    if occupied(demo.folder):
        raise UserError("holds something already", where=demo.folder, next="Remove it, or name another folder with -o.")
    started = time.monotonic()
    demo.folder.mkdir(parents=True, exist_ok=True)
    if data is None:
        _made_up(demo)
    else:
        _own_data(demo, Path(data), labels)
    _write_page(demo, time.monotonic() - started)
    return demo


def _free_folder() -> Path:
    """A second demo neither fails nor removes the first one's results."""
    names = (Path("demo" if number == 1 else f"demo-{number}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def _made_up(demo: Demo) -> None:
    from .data.synthetic import LABELS, write_synthetic_ct

    labels = ",".join(f"{name}={value}" for name, value in LABELS.items())
    say(f"{'data':<11}12 made-up CT scans as DICOM series, 3 of them held out")
    made = write_synthetic_ct(demo.folder / "data")
    _train(demo, made.training, labels, MADE_UP_TRAINING)
    lines = ["prediction,truth,case"]
    for patient in made.held_out_patients:
        printed = demo.run("predict", "predict", demo.bundle, made.held_out / patient, "-o", demo.predictions)
        name = Path(printed.splitlines()[0]).name  # of the series: nothing of the patient
        lines.append(f"{name}/mask.nii.gz,{patient}.nii.gz,{patient}")
    pairs = demo.folder / "pairs.csv"
    pairs.write_text("\n".join(lines) + "\n", encoding="utf-8")
    folders = ("--predictions", demo.predictions, "--truth", made.held_out_truth, "--pairs", pairs)
    demo.run("evaluate", "evaluate", *folders, "--labels", labels, "-o", demo.scores)
    _check_bars(demo)


def _own_data(demo: Demo, data: Path, labels: str) -> None:
    from .data.manifest import read_manifest

    _train(demo, data, labels, OWN_TRAINING)
    demo.run("evaluate", "evaluate", demo.run_folder, "-o", demo.scores)
    manifest = read_manifest(demo.manifest)
    held_out = [case for case in manifest.cases if case.fold == 0 and len(case.image) == 1][:SHOWN]
    for case in held_out:
        options = {"--series": case.series, "--volume": case.volume, "--pixel-size": case.pixel_size_mm}
        words = [word for option, value in options.items() if value for word in (option, value)]
        demo.run("predict", "predict", demo.bundle, manifest.data_root / case.image[0], "-o", demo.predictions, *words)


def _train(demo: Demo, data: Path, labels: str, training: Sequence[object]) -> None:
    named = ("--labels", labels) if labels else ()
    sheet = demo.folder / "cases.png"
    demo.run("manifest", "manifest", data, *named, "-o", demo.manifest)
    demo.run("check", "check", demo.manifest, "--picture", sheet)
    demo.run("train", "train", demo.manifest, *training, "-o", demo.run_folder, show=True)
    demo.run("bundle", "bundle", "build", demo.run_folder, "-o", demo.bundle)


def mean_dices(demo: Demo) -> dict[str, float | None]:
    """Structure → mean Dice of the evaluation."""
    scores = json.loads((demo.scores / "scores.json").read_text(encoding="utf-8"))
    return {name: measures["dice"]["mean"] for name, measures in scores["structures"].items()}


def _check_bars(demo: Demo) -> None:
    for name, value in mean_dices(demo).items():
        if value is None or value < BARS[name]:
            raise UserError(
                f"Dice of {name} on the held-out series is {value}, expected at least {BARS[name]}",
                where="demo",
                next="The demo is the same everywhere but for rounding: please report this with 'unet doctor'.",
            )


def _write_page(demo: Demo, seconds: float) -> None:
    from .report.page import Page
    from .training.outcome import outcome_of
    from .training.page import add_curves
    from .training.run_folder import open_run_folder

    scores = json.loads((demo.scores / "scores.json").read_text(encoding="utf-8"))
    page = Page("unet demo", f"Labelled scans to mask in {seconds / 60:.1f} minutes")
    measures = ("dice", "iou", "precision", "recall", "accuracy", "hd95_mm", "nsd")
    shown = [m for m in measures if m in next(iter(scores["structures"].values()))]
    rows = [
        [name, *("n/a" if values[m]["mean"] is None else f"{values[m]['mean']:.3f}" for m in shown)]
        for name, values in scores["structures"].items()
    ]
    page.table(["structure", *shown], rows, f"Scores on the {scores['cases']} held-out scans, against the known truth (means).")
    for overlay in sorted(demo.predictions.glob("*/overlay.png")):
        sidecar = json.loads((overlay.parent / "mask.json").read_text(encoding="utf-8"))
        volumes = "; ".join(volume["text"] for volume in sidecar["volumes"])
        page.picture(overlay, f"{overlay.parent.name}: {volumes}", f"outlines of the structures found in {overlay.parent.name}")
    add_curves(page, outcome_of(open_run_folder(demo.run_folder)))
    page.picture(demo.folder / "cases.png", "The training cases with their masks.", "contact sheet of the training cases")
    page.commands(demo.commands)
    page.write(demo.page)
