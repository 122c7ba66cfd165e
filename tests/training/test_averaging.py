"""Averaged weights against numbers worked out by hand: the memory that grows, whole numbers, skipped steps, going on."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine

from pipeline.network.unet import OriginalUNet
from pipeline.training.averaging import AverageWeights


@pytest.fixture
def network() -> OriginalUNet:
    torch.manual_seed(0)
    return OriginalUNet(width=1, depth=1, padding="same", normalization="batch")


def take_step(network: OriginalUNet, average: AverageWeights, value: float, *, loss: float = 1.0) -> float:
    """All weights and statistics become `value`. Returns: the average of one of them."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.fill_(value)
    engine = Engine(lambda engine, batch: {"loss": loss})
    engine.run([0])
    average(engine)
    return average.network.scores.bias[0].item()


def test_the_memory_grows_with_the_steps_until_the_decay_is_reached(network):
    average = AverageWeights(network, 0.2)
    assert take_step(network, average, 11.0) == 11.0  # the starting weights do not count
    assert take_step(network, average, 22.0) == pytest.approx(11 * 2 / 11 + 22 * 9 / 11)  # 2 / 11 < 0.2
    assert take_step(network, average, 0.0) == pytest.approx(20 * 0.2)  # 3 / 12 > 0.2


def test_statistics_of_batch_normalisation_are_averaged_and_counts_copied(network):
    average = AverageWeights(network, 0.999)
    for value in (11.0, 22.0):
        take_step(network, average, value)
    state = average.network.state_dict()
    assert state["decoders.0.1.running_mean"].item() == pytest.approx(20)
    assert state["decoders.0.1.running_var"].item() == pytest.approx(20)
    assert state["decoders.0.1.num_batches_tracked"].item() == 22


def test_a_skipped_step_is_not_averaged(network):
    average = AverageWeights(network, 0.999)
    take_step(network, average, 11.0)
    assert take_step(network, average, 22.0, loss=float("nan")) == 11.0
    assert average.state()["averaged_steps"] == 1


def test_the_learning_network_is_left_alone_and_draws_no_random_numbers(network):
    before = torch.get_rng_state()
    average = AverageWeights(network, 0.999)
    take_step(network, average, 11.0)
    take_step(network, average, 22.0)
    assert network.scores.bias[0] == 22.0
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_restored_goes_on_as_if_never_interrupted(network):
    average = AverageWeights(network, 0.999)
    for value in (11.0, 22.0, 5.0):
        take_step(network, average, value)
    state = {"network": {k: v.clone() for k, v in average.state()["network"].items()}, "averaged_steps": 3}
    other = AverageWeights(network, 0.999)
    other.restore(state)
    assert take_step(network, other, 1.0) == take_step(network, average, 1.0)
