"""Show what a training's samples look like, without training: the page of `unet augment`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import UserError
from ..io.paths import file_aside
from .open_experiment import open_experiment
from .split import split

CASES_SHOWN = 4  # preprocessed for the page, spread over the training cases


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What was written."""

    picture: Path
    cases_shown: int
    cases: int  # that would train
    shares: str  # how often each distortion is drawn, in words


def preview(
    source: Path | str,
    picture: Path | str,
    *,
    fold: int | None = 0,
    settings: Mapping[str, object] | None = None,
    data_root: Path | str | None = None,
) -> Preview:
    """Write a PNG with originals beside draws of each distortion alone, and of all together.

    Patches are centred near structures, so that the outlines can be judged; else they are drawn as in the training, from some
    of its cases. Equal experiments give equal pages.

    Args:
        source: a manifest (JSON; the experiment is planned) or an experiment (YAML).
        picture: the PNG file; replaced where it exists.
        fold, settings, data_root: as in `train`.
    Raises: UserError as `train` does, and for a file that is not named .png or cannot be written.
    """
    picture = Path(picture)
    if picture.suffix.lower() != ".png":
        raise UserError(f"'{picture.name}' does not end in .png", where="-o", next="The page is one PNG file: -o page.png.")
    experiment, manifest, _ = open_experiment(Path(source), fold, None, data_root, settings or {})
    training, _ = split(manifest, fold)
    shown = training[:: -(-len(training) // CASES_SHOWN)]
    from ..data.case_store import store_cases  # what needs torch: not for a slip of typing
    from ..report.augmentation_sheet import augmentation_sheet, shares
    from .samples import training_samples

    with tempfile.TemporaryDirectory(prefix="unet-augment-") as folder:
        stored = store_cases(manifest, shown, experiment.preprocessing, Path(folder))
        samples = training_samples(replace(experiment, foreground_fraction=1.0), manifest.table, stored)
        title = f"{experiment.name}: samples as the network sees them in training; left the original, beside it draws"
        sheet = augmentation_sheet(samples, manifest.table, title=title)
    try:
        with file_aside(picture) as aside:
            sheet.save(aside, "PNG", optimize=True)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise UserError(what, where=picture, next="Choose another place with -o.") from error
    return Preview(picture=picture, cases_shown=len(shown), cases=len(training), shares=shares(experiment.augmentation))
