"""The training samples of an experiment: its settings brought together with the label table. Knows no engine."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.augmentation_fit import swaps_of
from ..data.case_store import StoredCase
from ..data.samples import Sampling, SliceSamples
from ..labels import LabelTable
from ..network.sizes import Design
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
