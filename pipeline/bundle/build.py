"""Package a run as a MONAI bundle: metadata, inference configuration, weights, and the code that reads and segments.

No patient data travels: neither cases nor their names, only settings, weights and mean scores.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Literal

from .. import __version__
from ..errors import UserError
from ..io.paths import written_aside
from ..training.checkpoint import load_checkpoint
from ..training.chosen import chosen_for, flips_of
from ..training.run_folder import RunFolder, open_run_folder
from .bundle import METADATA, WEIGHTS, Bundle, contents_sha256, format_of, network_with, open_bundle
from .inference_config import RUNTIME, inference_config
from .metadata import metadata
from .model_card import model_card
from .recipe import Recipe

# What a bundle needs of this package, copied under the name RUNTIME: a name that no folder in the user's current one has.
RUNTIME_FILES = (
    "codes.py",
    "errors.py",
    "labels.py",
    "progress.py",
    "io",
    "data/__init__.py",
    "data/normalise.py",
    "data/postprocess.py",
    "data/slice_grid.py",
    "network",
    "bundle/__init__.py",
    "bundle/recipe.py",
    "inference/__init__.py",
    "inference/segment.py",
    "inference/monai_transforms.py",
)
# What those files import, beside the standard library, and the decoders of compressed DICOM pixels; `fire` and
# `pytorch-ignite` are MONAI's own needs for `bundle run`.
PACKAGES = (
    "monai",
    "torch",
    "numpy",
    "scipy",
    "pytorch-ignite",
    "fire",
    "nibabel",
    "pydicom",
    "SimpleITK",
    "pillow",
    "tqdm",
    "python-gdcm",
    "pylibjpeg",
    "pylibjpeg-openjpeg",
    "pyjpegls",
)
# What lies at the top of a bundle: a folder that holds anything else is not overwritten.
CONTENTS = ("LICENSE", "configs", "docs", "models", "requirements.txt", RUNTIME)


def build_bundle(
    run_folder: Path | str,
    out: Path | str,
    *,
    checkpoint: Literal["best", "last"] = "best",
    version: str = "0.1.0",
) -> Bundle:
    """Package a run.

    Args:
        run_folder: of a training; need not be finished.
        out: the bundle's folder, e.g. bundles/NAME, whose last part becomes its name; an existing bundle there is replaced.
        checkpoint: which weights; without validation, both are the last.
        version: the bundle's own.
    Raises: UserError where the run has no checkpoint or one of another network, or `out` is something else than a bundle.
    """
    folder, out = open_run_folder(run_folder), Path(out)
    _refuse_other_folder(out)
    try:
        with written_aside(out) as aside:
            _write(folder, aside, name=out.name, checkpoint=checkpoint, version=version)
            open_bundle(aside).load_network()
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", where=out, next="Choose another folder with -o.") from error
    return open_bundle(out)


def _refuse_other_folder(out: Path) -> None:
    """Raises: UserError where `out` holds something that is not a bundle's, and would be lost."""
    if not out.exists():
        return
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else [out.name]
    others = [name for name in names if name not in CONTENTS]
    if others or (names and RUNTIME not in names):
        what = f"exists and is not a bundle of unet: it holds {', '.join((others or names)[:3])}, ..."
        raise UserError(what, where=out, next="Choose another folder with -o.")


def _write(folder: RunFolder, out: Path, *, name: str, checkpoint: Literal["best", "last"], version: str) -> None:
    experiment, manifest, channels = folder.experiment(), folder.manifest(), folder.image_channels
    modalities = {case.modality for case in manifest.cases}
    state = load_checkpoint(folder.best if checkpoint == "best" else folder.last)
    chosen = chosen_for(folder, state["epoch"])
    recipe = Recipe(
        preprocessing=experiment.preprocessing,
        head=experiment.network.head,
        table=manifest.table,
        image_channels=channels,
        modality=modalities.pop() if len(modalities) == 1 else "",
        postprocessing=chosen.postprocessing,
        temperature=chosen.temperature,
        flips=flips_of(experiment, manifest.table),
    )
    settings = experiment.network_settings(manifest.table, channels)
    network_with(experiment.network.name, settings, state["network"], where=folder.path)
    digest = _write_weights(state["network"], out)
    _copy_runtime(out / RUNTIME)
    packages = {package: installed(package).split("+")[0] for package in PACKAGES}
    unet = {
        "format": format_of(recipe),
        "network": {"name": experiment.network.name, "settings": settings},
        "recipe": recipe.to_json(),
        "weights_sha256": digest,
        "unet": __version__,
    }
    unet["sha256"] = contents_sha256(unet)
    _write_json(out / METADATA, metadata(name, version, recipe, packages, unet))
    _write_json(out / "configs" / "inference.json", inference_config(experiment.network.name, settings, recipe))
    (out / "requirements.txt").write_text("".join(f"{p}=={v}\n" for p, v in packages.items()), encoding="utf-8")
    docs = out / "docs"
    docs.mkdir()
    (docs / "README.md").write_text(
        model_card(name, version, experiment, recipe, _score(folder, state["epoch"])), encoding="utf-8"
    )
    shutil.copy(Path(__file__).parent / "templates" / "LICENSE", out / "LICENSE")


def _score(folder: RunFolder, epoch: int) -> str:
    """How good the packaged weights were on the validated cases, in words."""
    dice = next((line.get("val/dice") for line in folder.history() if line["epoch"] == epoch), None)
    if dice is None:
        return "not validated"
    where = f"mean over structures and cases of fold {folder.fold}, on the network's own grid"
    return f"{float(str(dice)):.4f} after epoch {epoch} ({where})"


def _write_weights(weights: Mapping[str, Any], out: Path) -> str:
    """`model.safetensors`, and `model.pt` for MONAI's tools. Returns: sha256 of the former."""
    import torch
    from safetensors.torch import save

    models = out / "models"
    models.mkdir(parents=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    data = save(tensors)
    (out / WEIGHTS).write_bytes(data)
    torch.save(tensors, models / "model.pt")
    return hashlib.sha256(data).hexdigest()


def _copy_runtime(target: Path) -> None:
    package = Path(__file__).parents[1]
    for name in RUNTIME_FILES:
        source, place = package / name, target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, place)
    text = '"""Reads images and segments them slice by slice; a copy of the parts of `unet` that this bundle needs."""\n'
    (target / "__init__.py").write_text(text, encoding="utf-8")


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
