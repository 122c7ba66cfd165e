"""What a training will take: what is worked out from a measurement, and how a plan is made to fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_trainings import TINY, write_set

from pipeline.data.case_store import network_pixels
from pipeline.data.manifest import Case, read_manifest
from pipeline.data.slice_grid import Preprocessing
from pipeline.errors import UserError
from pipeline.network.sizes import Design
from pipeline.training.experiment import Experiment, NetworkSettings
from pipeline.training.forecast import Forecast, forecast
from pipeline.training.open_experiment import override
from pipeline.training.plan import Plan
from pipeline.training.plan_memory import fit, smaller
from pipeline.training.probed import Probed
from pipeline.training.split import split

PROBED = Probed(
    imports_s=5.0,
    imported_bytes=600_000_000,
    preprocessing_s=1.0,
    preprocessing_voxels=1000,
    preprocessing_bytes=700_000_000,
    waiting_bytes=650_000_000,
    step_s=0.5,
    steps=20,
    step_bytes=2_000_000_000,
    workers_bytes=100_000_000,
    saving_s=1.0,
    validation_s=2.0,
    validation_pixels=500,
    validation_bytes=1_500_000_000,
    validated_shapes=1,
    shape_bytes=0,
    gpu_bytes=0,
)
PLANNED = Experiment(network=NetworkSettings(padding="same", normalization="batch", width=48), patch=(128, 64), batch_size=8)


def made_forecast(**settings: int) -> Forecast:
    values = {"preprocessing_bytes": 900_000_000, "training_bytes": 2_100_000_000, **settings}
    return Forecast(
        probed=PROBED, cases=10, validated=4, start_s=30.0, steps_per_epoch=100, validation_s=9.0, after_validations=1, **values
    )


def values_of(experiment: Experiment) -> float:
    """As memory goes: in proportion to samples, pixels and channels."""
    return experiment.batch_size * experiment.patch[0] * experiment.patch[1] * experiment.network.width


def as_if(experiment: Experiment) -> Forecast:
    """A machine on which training takes 680 MB, 24 bytes a weight and 64 for each of these values."""
    network = experiment.network
    weights = Design(width=network.width, padding=network.padding, normalization=True).parameters
    taken = 680e6 + 24 * weights + 64 * values_of(experiment)
    return made_forecast(training_bytes=int(taken), preprocessing_bytes=650_000_000)


def test_an_epoch_is_its_steps_its_validation_and_its_checkpoint():
    made = made_forecast()
    assert made.epoch_s == 100 * 0.5 + 9 + 1
    # 600 s less 30 to start, 8 to close, two validations for scores and pictures, and one for what is chosen after the last
    assert made.epochs_within(600) == pytest.approx((600 - 30 - 8 - 18 - 9) / 60)
    assert made.whole_s(3) == 30 + 3 * 60 + 8 + 18
    assert made.epochs_within(20) < 0


def test_memory_is_that_of_all_processes_at_the_worst_moment():
    assert made_forecast().peak_bytes == 2_200_000_000
    assert made_forecast(preprocessing_bytes=5_000_000_000).peak_bytes == 5_000_000_000


def test_pixels_are_counted_on_the_networks_grid():
    case = Case(
        case="a", image=("a",), label=("b",), patient_id="a", fold=0, shape=(100, 80, 10), spacing_mm=(0.5, 0.5, 5.0)
    )  # fmt: skip
    assert network_pixels(case, Preprocessing()) == 80_000
    assert network_pixels(case, Preprocessing(spacing_mm=1.0)) == 20_000


def test_first_the_batch_then_the_patch_then_the_width_becomes_smaller():
    steps = list(smaller(PLANNED))
    shapes = [(e.batch_size, e.patch, e.network.width) for e in steps]
    assert shapes[:4] == [(4, (128, 64), 48), (2, (128, 64), 48), (1, (128, 64), 48), (1, (96, 64), 48)]
    assert shapes[-1] == (1, (64, 64), 16)
    assert all(e.problems() == [] for e in steps)
    assert [e.network.width for e in smaller(PLANNED, {"batch_size", "patch"})] == [32, 24, 16]
    assert list(smaller(PLANNED, {"batch_size", "patch", "network.width"})) == []


def test_patches_of_valid_convolutions_stay_legal():
    steps = list(smaller(replace(Experiment(), patch=(572, 380))))
    assert all(e.problems() == [] for e in steps)
    assert min(e.patch for e in steps) == (252, 252)  # 68 px of output


def test_distortions_shrink_with_the_patch():
    small = [e for e in smaller(PLANNED) if e.patch == (64, 64)]
    assert small[0].augmentation.elastic_px == pytest.approx(64 * 20 / 512)


@pytest.mark.parametrize("limit_gb", [10.0, 1.3, 1.0, 0.9])
def test_what_fits_is_the_largest_that_does(limit_gb):
    plan, made = fit(Plan(experiment=PLANNED, reasons={}), int(limit_gb * 1e9), (), as_if)
    fits = [e for e in [PLANNED, *smaller(PLANNED)] if as_if(e).peak_bytes <= limit_gb * 1e9]
    assert plan.experiment == fits[0]
    assert made.peak_bytes <= limit_gb * 1e9
    changed = plan.experiment.batch_size != PLANNED.batch_size
    assert ("batch_size" in plan.reasons) == changed
    assert not changed or plan.reasons["batch_size"] == f"8 do not fit into {limit_gb:g} GB"


def test_where_nothing_fits_the_least_is_said():
    with pytest.raises(UserError, match=r"needs 0\.9 GB, more than 0\.4 GB\. Give --max-ram 0\.9G"):
        fit(Plan(experiment=PLANNED, reasons={}), 400_000_000, (), as_if)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Forecast:
    manifest = read_manifest(write_set(tmp_path_factory.mktemp("set")))
    settings = {**TINY, "workers": 1, "loss.class_weights": "census"}
    return forecast(override(Experiment(), settings), manifest, *split(manifest, 0))


def test_steps_memory_and_validation_are_measured(real):
    p = real.probed
    assert 0 < p.step_s < 10 and p.steps >= 3
    assert 2e8 < p.imported_bytes <= p.waiting_bytes <= p.step_bytes < 4e9
    assert p.workers_bytes > 0
    assert p.validation_pixels == 40 * 36 * 6
    assert real.validation_s == pytest.approx(2 * p.validation_s)  # two cases of one size
    assert real.start_s == pytest.approx(p.imports_s + 3 + 4 * p.preprocessing_s)
