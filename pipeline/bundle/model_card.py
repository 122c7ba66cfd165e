"""`docs/README.md` of a bundle: what it segments, how it was trained, how to run it."""

from __future__ import annotations

from collections.abc import Mapping

from ..training.experiment import Experiment
from .checks import Checks
from .recipe import Recipe


def model_card(
    name: str,
    version: str,
    experiment: Experiment,
    recipe: Recipe,
    score: str,
    *,
    members: int = 1,
    checks: Checks | None = None,
    volumes_ml: Mapping[str, tuple[float, float]] | None = None,
) -> str:
    """Markdown. Holds no case names: nothing of a patient travels.

    Args:
        score: Dice of the packaged weights, in words.
        members: so many networks answer together.
        checks: what was compared before the bundle was built, if anything was.
        volumes_ml: structure → smallest and largest volume in the training cases, where known.
    """
    network, settings = experiment.network, recipe.preprocessing
    pixel = f"{settings.spacing_mm:g} mm pixels" if settings.spacing_mm else "pixels as stored"
    structures = "\n".join(
        f"| {s.value} | {s.name} | {'SCT ' + s.code.value + ' ' + s.code.meaning if s.code else ''} |"
        for s in recipe.table.structures
    )
    steps = "; ".join(f"{name}: {steps}" for name, steps in recipe.postprocessing.items())
    afterwards = f" Post-processing: {steps} (chosen on the validation cases)." if steps else ""
    together = f"""
An ensemble: {members} networks of one cross-validation, each trained without the cases of its fold. Their probabilities are
averaged, so a scan takes {members} times the time of one.
"""
    ranges = ", ".join(f"{structure} {low:g} to {high:g} ml" for structure, (low, high) in (volumes_ml or {}).items())
    return f"""# {name} {version}

Original U-Net (Ronneberger, Fischer and Brox, 2015, arXiv:1505.04597), {network.padding} convolutions, width {network.width},
depth {network.depth}. Works on {settings.plane} slices with {pixel}; modality: {recipe.modality or "not stated"}.
{together if members > 1 else ""}
| value | structure | code |
| --- | --- | --- |
{structures}

{f"In the training cases: {ranges}." if ranges else "How large the structures were in training is not known."}

{"Out-of-fold" if members > 1 else "Validation"} Dice: {score}, in fp32.{afterwards}

{checks or "How bf16 differs from fp32 was not checked when this bundle was built."}

**For research. Not a medical device. Look at every mask before you use it.**

## Run it

    unet predict PATH_OF_THIS_FOLDER DICOM_FOLDER -o OUT

or, in an environment with the packages of `requirements.txt`:

    python -m monai.bundle run --config_file THIS/configs/inference.json --dataset_dir IN --output_dir OUT

Both give the same mask, on the grid of the input.
"""
