"""Package a run as a MONAI bundle: metadata, inference configuration, weights, and the code that reads and segments.

No patient data travels: neither cases nor their names, only settings, weights and mean scores.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import UserError
from ..io.paths import written_aside
from ..training.cross_folder import is_cross_validation, open_cross_folder
from ..training.run_folder import open_run_folder
from .bundle import METADATA, WEIGHTS, Bundle, contents_sha256, format_of, network_with, open_bundle
from .checks import Checks
from .contents import Checkpoint, Contents, contents_of_folds, contents_of_run
from .inference_config import RUNTIME, inference_config
from .metadata import metadata
from .model_card import model_card

# What a bundle needs of this package, copied under the name RUNTIME: a name that no folder in the user's current one has.
RUNTIME_FILES = (
    "codes.py",
    "cores.py",
    "errors.py",
    "labels.py",
    "progress.py",
    "io",
    "data/__init__.py",
    "data/normalise.py",
    "data/postprocess.py",
    "data/slice_grid.py",
    "data/slice_stream.py",
    "network",
    "bundle/__init__.py",
    "bundle/recipe.py",
    "inference/__init__.py",
    "inference/body.py",
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
    checkpoint: Checkpoint = "best",
    version: str = "0.1.0",
    fold: int | None = None,
    check: Callable[[Path, Checkpoint], Checks | None] | None = None,
) -> Bundle:
    """Package a run, or all folds of a cross-validation as an ensemble.

    Args:
        run_folder: of a training, which need not be finished; or of all folds.
        out: the bundle's folder, e.g. bundles/NAME, whose last part becomes its name; an existing bundle there is replaced.
        checkpoint: which weights; without validation, both are the last.
        version: the bundle's own.
        fold: of a cross-validation this one's model alone.
        check: compares on the cases of a run folder (`inference.check_run`), once nothing else is in the way; its result goes
            into the model card. Where nothing was found outside the body of CTs, that is left out in prediction; ranges that
            eight bits were compared with become part of the bundle.
    Raises: UserError where the run has no checkpoint or one of another network, or `out` is something else than a bundle.
    """
    contents, out = _contents(run_folder, fold, checkpoint), Path(out)
    _refuse_other_folder(out)
    checks = check(_run_of(run_folder, fold), checkpoint) if check else None
    if checks is not None:
        contents = replace(contents, recipe=replace(contents.recipe, body_box=checks.body_box))
    try:
        with written_aside(out) as aside:
            _write(contents, aside, name=out.name, version=version, where=Path(run_folder), checks=checks)
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


def _contents(run_folder: Path | str, fold: int | None, checkpoint: Checkpoint) -> Contents:
    if not is_cross_validation(run_folder):
        if fold is not None:
            what = "one fold can be chosen of a cross-validation (unet train --folds all), and this is not one"
            raise UserError(what, where=run_folder, next="Leave --fold away.")
        return contents_of_run(open_run_folder(run_folder), checkpoint)
    cross = open_cross_folder(run_folder)
    if fold is None:
        return contents_of_folds(cross, checkpoint)
    if fold not in cross.folds:
        raise UserError(f"there is no fold {fold}", where=cross.path, next=f"Folds here: {', '.join(map(str, cross.folds))}.")
    return contents_of_run(open_run_folder(cross.run(fold).path), checkpoint)


def _run_of(run_folder: Path | str, fold: int | None) -> Path:
    return Path(run_folder) if fold is None else open_cross_folder(run_folder).run(fold).path


def _write(contents: Contents, out: Path, *, name: str, version: str, where: Path, checks: Checks | None) -> None:
    experiment, recipe, members = contents.experiment, contents.recipe, contents.members
    settings = experiment.network_settings(recipe.table, recipe.image_channels)
    network_with(experiment.network.name, settings, contents.weights, where=where, members=members, head=recipe.head)
    digest = _write_weights(contents.weights, out)
    _copy_runtime(out / RUNTIME)
    packages = {package: installed(package).split("+")[0] for package in PACKAGES}
    several = {"members": members} if members > 1 else {}
    unet = {
        "format": format_of(recipe, members),
        "network": {"name": experiment.network.name, "settings": settings, **several},
        "recipe": recipe.to_json(),
        "weights_sha256": digest,
        **({"int8": {"ranges": [dict(ranges) for ranges in checks.ranges]}} if checks and checks.ranges else {}),
        **({"volumes_ml": contents.volumes_ml} if contents.volumes_ml else {}),
        "unet": __version__,
    }
    unet["sha256"] = contents_sha256(unet)
    _write_json(out / METADATA, metadata(name, version, recipe, packages, unet))
    _write_json(out / "configs" / "inference.json", inference_config(experiment.network.name, settings, recipe, members))
    (out / "requirements.txt").write_text("".join(f"{p}=={v}\n" for p, v in packages.items()), encoding="utf-8")
    docs = out / "docs"
    docs.mkdir()
    card = model_card(
        name,
        version,
        experiment,
        recipe,
        contents.score,
        members=members,
        checks=checks,
        volumes_ml=contents.volumes_ml,
    )
    (docs / "README.md").write_text(card, encoding="utf-8")
    shutil.copy(Path(__file__).parent / "templates" / "LICENSE", out / "LICENSE")


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
