"""Run folders and bundles without a training: seeded random weights, or weights that threshold the image."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.bundle.build import build_bundle
from pipeline.bundle.bundle import Bundle
from pipeline.data.augmentation import Augmentation
from pipeline.data.manifest import Case, Manifest, write_manifest
from pipeline.data.normalise import Normalisation
from pipeline.data.postprocess import Postprocessing, to_json
from pipeline.data.slice_grid import Preprocessing
from pipeline.io.paths import write_text
from pipeline.labels import LabelTable, label_table
from pipeline.network.catalogue import build_network
from pipeline.network.sizes import Design, input_side_for
from pipeline.training.checkpoint import save_checkpoint
from pipeline.training.cross_folder import CrossFolder
from pipeline.training.experiment import Experiment, NetworkSettings, experiment_yaml
from pipeline.training.run_folder import RunFolder

ORGAN_AND_LESION = label_table({"organ": 1, "lesion": 2})
ONE = label_table({"organ": 1})


def make_run(
    folder: Path,
    *,
    table: LabelTable = ORGAN_AND_LESION,
    network: Mapping[str, object] | None = None,
    preprocessing: Preprocessing | None = None,
    image_channels: int = 1,
    modality: str = "CT",
    cases: Sequence[Case] = (),
    data_root: Path | None = None,
    seed: int = 10,  # gives all three classes on noise with the networks of the tests
    facts: Mapping[str, object] | None = None,
    augmentation: Augmentation | None = None,
    postprocessing: Postprocessing | None = None,
) -> RunFolder:
    """A run as `unet train` leaves it after its first epoch."""
    run = RunFolder(path=folder)
    settings = NetworkSettings(**{"width": 2, "depth": 2, "padding": "same", **(network or {})})
    side = input_side_for(Design(padding=settings.padding, depth=settings.depth), 40)
    experiment = Experiment(
        network=settings,
        patch=(side, side),
        preprocessing=preprocessing or Preprocessing(normalisation=Normalisation(kind="window", low=-200, high=300)),
        augmentation=augmentation or Augmentation(),
        manifest="manifest.json",
    )
    run.last.parent.mkdir(parents=True)
    some = cases or [some_case(modality)]
    write_manifest(Manifest(name="made", data_root=data_root or folder, table=table, cases=tuple(some)), run.manifest_file)
    write_text(run.experiment_file, experiment_yaml(experiment, {}))
    run.note(
        {"fold": 0, "finished": True, "image_channels": image_channels, "best_epoch": 1, "best_dice": 0.5, **(facts or {})}
    )
    torch.manual_seed(seed)
    net = build_network(settings.name, experiment.network_settings(table, image_channels))
    state = {"epoch": 1, "network": net.state_dict()}
    save_checkpoint(state, run.best)
    save_checkpoint(state, run.last)
    if postprocessing is not None:
        write_chosen(run, postprocessing)
    return run


def write_chosen(run: RunFolder, postprocessing: Postprocessing, *, epoch: int = 1, temperature: float = 1.5) -> None:
    """What `unet train` leaves where it chose these steps for the weights of this epoch."""
    chosen = {"epoch": epoch, "postprocessing": to_json(postprocessing), "calibration": {"temperature": temperature}}
    write_text(run.chosen, json.dumps(chosen))


def make_folds(folder: Path, *, seeds: Sequence[int] = (10, 11, 12), **settings: object) -> CrossFolder:
    """Folds as `unet train --folds all` leaves them, one a seed; further settings as in `make_run`."""
    cross = CrossFolder(path=folder)
    cases = [replace(some_case(name=f"case_{fold}", patient=f"P{fold}"), fold=fold) for fold in range(len(seeds))]
    for fold, seed in enumerate(seeds):
        run = make_run(cross.run(fold).path, **{"cases": cases, "seed": seed, "facts": {"fold": fold}, **settings})
        digests = {"experiment_digest": run.experiment().digest, "manifest_digest": run.manifest().digest}
        run.note(digests)
    for file in (cross.experiment_file, cross.manifest_file):
        shutil.copy(run.path / file.name, file)
    cross.note({"folds": list(range(len(seeds))), "budget_s": None, "used_s": {}, "finished": True, **digests})
    return cross


def make_bundle(folder: Path, **settings: object) -> Bundle:
    """A bundle of `make_run` at folder/bundle."""
    return build_bundle(make_run(folder / "run", **settings).path, folder / "bundle")


def some_case(modality: str = "CT", *, name: str = "case-of-jane-doe", patient: str = "PAT-4711") -> Case:
    """A case whose names must not travel; its files need not exist."""
    return Case(
        case=name,
        image=(f"{name}/image.nii.gz",),
        label=(f"{name}/label.nii.gz",),
        patient_id=patient,
        fold=0,
        image_sha256=("a" * 64,),
        label_sha256=("b" * 64,),
        shape=(8, 9, 5),
        spacing_mm=(1.0, 1.0, 1.0),
        modality=modality,
    )


def thresholding_bundle(
    folder: Path,
    *,
    plane: str = "axial",
    spacing_mm: float = 0.0,
    table: LabelTable = ONE,
    head: str = "softmax",
    padding: str = "same",
    modality: str = "",
    at: float = 0.5,
    neighbours: int = 0,
    image_channels: int = 1,
    channel: int = 0,
    postprocessing: Postprocessing | None = None,
) -> Bundle:
    """A real bundle of a real network whose weights make the mask known: structure 1 is where the image exceeds `at`.

    A second structure of a softmax table takes what exceeds `at` + 1; overlapping ones are both marked there.
    """
    how = Normalisation(kind="none")
    run = make_run(
        folder / "run",
        table=table,
        network={"width": 4, "depth": 1, "padding": padding, "head": head},
        preprocessing=Preprocessing(plane=plane, spacing_mm=spacing_mm, neighbours=neighbours, normalisation=how),
        modality=modality,
        image_channels=image_channels,
        postprocessing=postprocessing,
    )
    net = build_network("original", run.experiment().network_settings(table, image_channels))
    weights = thresholding(net.state_dict(), at=at, head=head, channel=channel)
    save_checkpoint({"epoch": 1, "network": weights}, run.best)
    return build_bundle(run.path, folder / "bundle")


def thresholding(state: Mapping[str, torch.Tensor], *, at: float, head: str, channel: int = 0) -> dict[str, torch.Tensor]:
    """Weights for width 4, depth 1: two channels a structure carry max(0, x - t) and max(0, t - x) past the pooling.

    Scores: background 0, first structure x - at; second 2 * (x - at - 0.5), the largest from at + 1 on, or with a sigmoid
    2 * (x - at - 1).

    Args:
        channel: of the network's input: which one is x.
    """
    made = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    second = at + (0.5 if head == "softmax" else 1.0)
    made["encoders.0.0.weight"][:, channel, 1, 1] = torch.tensor([1.0, -1.0, 1.0, -1.0])
    made["encoders.0.0.bias"][:] = torch.tensor([-at, at, -second, second])
    for name in ("encoders.0.2.weight", "decoders.0.0.weight", "decoders.0.2.weight"):
        for carried in range(4):
            made[name][carried, carried, 1, 1] = 1.0
    first = 1 if head == "softmax" else 0
    for structure, factor in enumerate((1.0, 2.0)[: made["scores.weight"].shape[0] - first]):
        made["scores.weight"][first + structure, 2 * structure : 2 * structure + 2, 0, 0] = torch.tensor([factor, -factor])
    return made
