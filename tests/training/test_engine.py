"""The training step and its handlers: numbers that are none, signals, budgets."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from pipeline.errors import UserError
from pipeline.network.unet import OriginalUNet
from pipeline.training.engine import FollowSchedule, MeanLoss, StopOnBudget, StopOnPatience, StopOnSignal, attach, build_trainer
from pipeline.training.loss import dice_focal_loss
from pipeline.training.schedule import Clock, learning_rate
from pipeline.training.step_times import StepTimes


@pytest.fixture
def network() -> OriginalUNet:
    torch.manual_seed(0)
    return OriginalUNet(width=2, depth=1, padding="same", normalization="batch")


def trainer_of(network: nn.Module, loss=None, rate: float = 0.01) -> Engine:
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    return build_trainer(network, optimizer, loss or dice_focal_loss("softmax"), device=torch.device("cpu"), bf16=False)


def batch(*, bad: bool = False) -> dict[str, torch.Tensor]:
    image = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    if bad:
        image[0, 0, 3, 3] = float("nan")
    return {"image": image, "label": (image > 0.5).to(torch.uint8)}


def state_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_steps_make_the_loss_smaller(network):
    losses = []
    trainer = trainer_of(network)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output["loss"]))
    trainer.run([batch()] * 30)
    assert losses[-1] < 0.8 * losses[0]


def test_a_batch_without_a_finite_loss_is_skipped_with_a_word_and_nothing_is_touched(network, capsys):
    trainer = trainer_of(network)
    trainer.run([batch()])
    before = state_of(network)
    trainer.run([batch(bad=True)])
    assert equal(state_of(network), before)  # the running means of batch normalisation, too
    assert "the loss of step 1 or its gradients are not finite: step skipped" in capsys.readouterr().err
    trainer.run([batch()])
    assert not equal(state_of(network), before)
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_gradients_that_are_not_finite_are_skipped_as_well(network):
    """The square root has an infinite slope at 0, where its value is finite."""
    trainer = trainer_of(network, loss=lambda scores, truth: (scores * 0).sum().sqrt())
    before = state_of(network)
    trainer.run([batch()])
    assert equal(state_of(network), before)


def test_twice_in_a_row_ends_the_training_with_advice(network, capsys):
    before = state_of(network)
    with pytest.raises(UserError, match=r"not finite, twice in a row at step 2\. Train again with a lower learning_rate"):
        trainer_of(network).run([batch(bad=True), batch(bad=True)])
    assert equal(state_of(network), before)
    assert "terminating" not in capsys.readouterr().err  # ignite has nothing to add


def test_two_that_do_not_follow_each_other_are_two_skips(network):
    trainer_of(network).run([batch(bad=True), batch(), batch(bad=True), batch()])


def test_six_in_one_epoch_end_the_training_though_each_stands_alone(network):
    mostly = [batch(bad=number % 2 == 0) for number in range(14)]
    with pytest.raises(UserError, match=r"not finite in 6 steps of one epoch, last at 11\. Train again"):
        trainer_of(network).run(mostly)
    trainer_of(network).run(mostly[:10], max_epochs=2)  # five in each


def test_the_mean_loss_leaves_skipped_steps_out(network):
    losses = MeanLoss()
    trainer = trainer_of(network)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, losses)
    trainer.run([batch(bad=True), batch()])
    mean, skipped = losses.take()
    assert mean is not None and 0 < mean < 5
    assert skipped == 1
    assert losses.take() == (None, 0)


def test_the_rate_of_each_step_is_the_schedules(network):
    optimizer = torch.optim.SGD(network.parameters(), lr=99.0)
    clock = Clock(epochs=1, budget_s=None, began_s=time.monotonic())
    rate_at = partial(learning_rate, 1e-3, warm_up_fraction=0.02, shape="poly")
    schedule, rates = FollowSchedule(optimizer, rate_at, clock, 4), []
    trainer = build_trainer(network, optimizer, dice_focal_loss("softmax"), device=torch.device("cpu"), bf16=False)
    attach(trainer, schedule=schedule, losses=MeanLoss(), times=StepTimes(), average=None, stops=[])
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: rates.append(optimizer.param_groups[0]["lr"]))
    trainer.run([batch()] * 4)
    left = [(1 - (done - 0.02) / 0.98) ** 0.9 for done in (0.25, 0.5, 0.75)]
    assert rates == pytest.approx([1e-4, *(1e-3 * x for x in left)])


@pytest.mark.parametrize(("limit", "wanted"), [(0.0, 5.0), (2.0, 2.0), (5.1, 5.0)])
def test_only_gradients_longer_than_the_limit_are_cut_to_it(limit, wanted):
    layer = nn.Conv2d(1, 1, 1, bias=False)
    trainer = build_trainer(
        layer,
        torch.optim.SGD(layer.parameters(), lr=1.0),
        lambda scores, truth: 5 * layer.weight.sum(),
        device=torch.device("cpu"),
        bf16=False,
        gradient_norm=limit,
    )
    before = layer.weight.detach().clone()
    trainer.run([batch()])
    assert (before - layer.weight.detach()).item() == pytest.approx(wanted, rel=1e-5)


def test_patience_ends_the_training_after_as_many_epochs_without_a_better_one(network, capsys):
    stop, trainer = StopOnPatience(2, since_best=1), trainer_of(network)
    better = {1: True, 2: False, 3: True, 4: False, 5: False, 6: True}

    def end_epoch(engine: Engine) -> None:
        stop.since_best = 0 if better[engine.state.epoch] else stop.since_best + 1

    trainer.add_event_handler(Events.EPOCH_COMPLETED, end_epoch)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, stop)
    trainer.run([batch()], max_epochs=6)
    assert trainer.state.epoch == 5
    assert "no epoch was better in the last 2: the training ends here" in capsys.readouterr().err
    assert not StopOnPatience(0, since_best=99).reached


def test_a_budget_ends_the_training_after_the_step_at_hand(network):
    stop = StopOnBudget(Clock(epochs=1, budget_s=8.2, began_s=time.monotonic()))  # 8 s are kept for the end
    trainer = trainer_of(network)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
    trainer.run([batch()], max_epochs=10**6, epoch_length=100)
    assert trainer.state.iteration < 10**5


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_training_after_the_step_at_hand(network, kind):
    stop, trainer = StopOnSignal(), trainer_of(network)
    trainer.add_event_handler(Events.ITERATION_STARTED(once=3), lambda: os.kill(os.getpid(), kind))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
    before = signal.getsignal(kind)
    with stop.listening():
        trainer.run([batch()] * 10)
    assert trainer.state.iteration == 3
    assert signal.getsignal(kind) is before


def test_a_second_signal_ends_it_at_once():
    stop = StopOnSignal()
    with pytest.raises(KeyboardInterrupt), stop.listening():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)


def test_half_precision_trains_as_well(network):
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    trainer = build_trainer(network, optimizer, dice_focal_loss("softmax"), device=torch.device("cpu"), bf16=True)
    losses = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output["loss"]))
    trainer.run([batch()] * 30)
    assert losses[-1] < 0.85 * losses[0]
