"""An ensemble answers with the mean of its members' probabilities, as logits, however it is tiled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.network.decide import decide
from pipeline.network.ensemble import Ensemble, build_ensemble
from pipeline.network.tiling import WholeSlice
from pipeline.network.unet import OriginalUNet


def members(count: int, *, out_channels: int = 3, scale: float = 1.0, **options: object) -> list[OriginalUNet]:
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        network = OriginalUNet(2, out_channels, width=3, depth=2, **{"padding": "same", **options}).double().eval()
        nn.init.normal_(network.scores.weight, std=scale)
        made.append(network)
    return made


def image(height: int = 40, width: int = 44) -> torch.Tensor:
    return torch.randn(2, 2, height, width, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def softmax_by_numpy(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@torch.inference_mode()
def test_softmax_scores_are_the_logarithm_of_the_mean_probability():
    three = members(3)
    mean = np.mean([softmax_by_numpy(member(image()).numpy()) for member in three], axis=0)
    np.testing.assert_allclose(Ensemble(three, "softmax")(image()).numpy(), np.log(mean), atol=1e-10)


@torch.inference_mode()
def test_sigmoid_scores_are_the_logit_of_the_mean_probability():
    three = members(3)
    mean = np.mean([1 / (1 + np.exp(-member(image()).numpy())) for member in three], axis=0)
    np.testing.assert_allclose(Ensemble(three, "sigmoid")(image()).numpy(), np.log(mean / (1 - mean)), atol=1e-10)


@torch.inference_mode()
def test_one_loud_member_does_not_outvote_two_others():
    class Says(nn.Module):
        design, output = None, "centre"

        def __init__(self, *scores: float) -> None:
            super().__init__()
            self.scores = torch.tensor(scores).reshape(1, -1, 1, 1)

        def forward(self, _: torch.Tensor) -> torch.Tensor:
            return self.scores

    # the mean of the scores is 32 to 1; the mean of the probabilities 1/3 + 2 x 0.12 to 2 x 0.88
    voters = [Says(100.0, 0.0), Says(-2.0, 0.0), Says(-2.0, 0.0)]
    softmax = Ensemble(voters, "softmax")(torch.zeros(1))
    assert decide(softmax, "softmax", overlapping=False).item() == 1
    assert torch.softmax(softmax, 1)[0, 0].item() == pytest.approx((1 + 2 / (1 + np.e**2)) / 3, abs=1e-6)
    sure = Ensemble([Says(-200.0, 200.0), Says(-300.0, 300.0)], "sigmoid")(torch.zeros(1))
    # far beyond what a float holds as a probability: log of the mean of e^-200 and e^-300
    np.testing.assert_allclose(sure.flatten().tolist(), [-200 - np.log(2), 200 + np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("options", [{"padding": "same"}, {"padding": "valid"}, {"padding": "valid", "output": "rescale"}])
@torch.inference_mode()
def test_a_whole_slice_of_the_ensemble_is_the_mean_of_the_members_whole_slices(options):
    two = members(2, **options)
    mean = np.mean([softmax_by_numpy(WholeSlice(member)(image(53, 41)).numpy()) for member in two], axis=0)
    found = WholeSlice(Ensemble(two, "softmax"), tile=100)(image(53, 41))
    np.testing.assert_allclose(softmax_by_numpy(found.numpy()), mean, atol=1e-9)


@torch.inference_mode()
def test_an_ensemble_of_one_decides_as_its_member():
    (one,) = members(1)
    for head in ("softmax", "sigmoid"):
        alone, together = one(image()), Ensemble([one], head)(image())
        assert torch.equal(decide(alone, head, overlapping=True), decide(together, head, overlapping=True))


def test_members_of_two_designs_are_not_mixed():
    with pytest.raises(ValueError, match="one design"):
        Ensemble([*members(1), *members(1, out_channels=2)], "softmax")


def test_the_number_of_members_has_a_limit():
    settings = {"width": 2, "depth": 1, "padding": "same"}
    assert len(build_ensemble("original", settings, members=4, head="softmax").members) == 4
    for number in (0, 10**9):
        with pytest.raises(UserError, match="an ensemble has 1 to 64 members"):
            build_ensemble("original", settings, members=number, head="softmax")
    with pytest.raises(UserError, match="'os:system' is not a network"):
        build_ensemble("os:system", settings, members=2, head="softmax")


@pytest.mark.parametrize("classes", [2, 3, 9])
def test_the_decision_is_the_largest_score_and_the_first_of_equals(classes):
    scores = torch.randint(0, 3, (2, classes, 64, 50), generator=torch.Generator().manual_seed(0)).float()
    for given in (scores, scores.contiguous(memory_format=torch.channels_last), scores[..., 3:40, ::2]):
        decided = decide(given, "softmax", overlapping=False)
        assert decided.dtype == torch.uint8
        assert np.array_equal(decided.numpy(), given.numpy().argmax(axis=1))
