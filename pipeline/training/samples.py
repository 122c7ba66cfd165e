"""The training samples of an experiment: its settings brought together with the label table. Knows no engine."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader

from ..data.augmentation_fit import swaps_of
from ..data.case_store import StoredCase
from ..data.samples import NumbersFrom, Sampling, SliceSamples
from ..labels import LabelTable
from ..network.sizes import Design
from . import world
from .border import WithBorder
from .experiment import Experiment


def training_samples(experiment: Experiment, table: LabelTable, cases: Sequence[StoredCase]) -> SliceSamples:
    """What the network of this experiment is trained on, from these preprocessed cases.

    Raises: UserError for flips that would teach a wrong side.
    """
    network, preprocessing = experiment.network, experiment.preprocessing
    design = Design(width=network.width, depth=network.depth, padding=network.padding)
    sampling = Sampling(
        patch=experiment.patch,
        border=0 if network.output == "rescale" else design.border,
        neighbours=preprocessing.neighbours,
        foreground_fraction=experiment.foreground_fraction,
        seed=experiment.seed,
        swaps=swaps_of(experiment.augmentation, preprocessing.plane, table),
        limits=preprocessing.normalisation.limits,
    )
    return SliceSamples(cases, sampling, experiment.augmentation)


def training_loader(experiment: Experiment, table: LabelTable, cases: Sequence[StoredCase], first: int) -> DataLoader[Any]:
    """Batches of these samples without an end, from sample number `first` on, prepared by the experiment's workers.

    Where many processes train, each prepares its own part of every batch.
    """
    loss = experiment.loss
    own = experiment.batch_size // world.size()
    return DataLoader(
        training_samples(experiment, table, cases),
        batch_size=own,
        sampler=NumbersFrom(first + world.rank() * own, own, experiment.batch_size),
        num_workers=experiment.workers,
        collate_fn=WithBorder(weight=loss.border_weight, sigma_px=loss.border_sigma_px) if loss.border_weight else None,
        worker_init_fn=_prepare_worker,
        prefetch_factor=4 if experiment.workers else None,
        generator=torch.Generator(),  # else starting it would draw from the stream of the dropout, once more after a resume
    )


def _prepare_worker(worker: int) -> None:
    torch.set_num_threads(1)  # the cores belong to the network
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the trainer decides
