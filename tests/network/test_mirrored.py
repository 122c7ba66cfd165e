"""Mirror images: averaged probabilities, turned back, with left and right under their own names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.network.mirrored import Mirrored, mirrored


class Columns(nn.Module):
    """Scores that depend on the place in the image: the mirror image gets others. Counts its calls."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weights = torch.randn(channels, 4, 6)
        self.calls = 0

    def forward(self, image: Tensor) -> Tensor:
        self.calls += 1
        return image * self.weights


IMAGE = torch.rand(2, 1, 4, 6)


def test_softmax_of_the_answer_is_the_mean_of_the_probabilities():
    network = Columns(3)
    found = Mirrored(network, {"columns": (), "rows": ()}, "softmax")(IMAGE).softmax(dim=1)
    parts = [network(IMAGE.flip(d)).softmax(dim=1).flip(d) for d in ([], [-1], [-2], [-2, -1])]
    torch.testing.assert_close(found, torch.stack(parts).mean(dim=0))


def test_sigmoid_of_the_answer_is_the_mean_of_the_probabilities():
    network = Columns(2)
    found = Mirrored(network, {"rows": ()}, "sigmoid")(IMAGE).sigmoid()
    torch.testing.assert_close(found, (network(IMAGE).sigmoid() + network(IMAGE.flip(-2)).sigmoid().flip(-2)) / 2)


def test_only_the_axes_of_the_training_are_mirrored():
    network = Columns(2)
    Mirrored(network, {"columns": ()}, "softmax")(IMAGE)
    assert network.calls == 2


class LeftIsRight(nn.Module):
    """Knows sides by the place alone: what lies in the left half of the image is class 1, in the right half class 2."""

    def forward(self, image: Tensor) -> Tensor:
        half = torch.zeros(3, 1, 6)
        half[1, :, :3], half[2, :, 3:] = 5.0, 5.0
        return half.expand(len(image), 3, image.shape[-2], 6)


@pytest.mark.parametrize(("head", "shift"), [("softmax", 0), ("sigmoid", 1)])
def test_structures_change_names_in_the_mirror(head, shift):
    """A network that is sure of its sides is as sure with mirror images; without the exchange it would be torn."""
    pairs = ((shift, 1 + shift),)
    plain = LeftIsRight()(IMAGE)
    torch.testing.assert_close(Mirrored(LeftIsRight(), {"columns": pairs}, head)(IMAGE).sigmoid().argmax(1), plain.argmax(1))
    torn = Mirrored(LeftIsRight(), {"columns": ()}, head)(IMAGE)
    torch.testing.assert_close(torn[:, 1], torn[:, 2])
    kept = Mirrored(LeftIsRight(), {"rows": (), "columns": pairs}, head)(IMAGE)
    assert torch.equal(kept[:, 1:].argmax(1), plain[:, 1:].argmax(1))


def test_scores_beyond_what_probabilities_can_hold_stay_finite():
    network = Columns(1)
    network.weights = torch.full((1, 4, 6), 500.0)
    for head in ("softmax", "sigmoid"):
        assert torch.isfinite(Mirrored(network, {"rows": ()}, head)(torch.ones(1, 1, 4, 6))).all()


def test_a_network_that_never_saw_mirror_images_gets_none():
    with pytest.raises(UserError, match="--flips: the network was trained without mirror images"):
        mirrored(Columns(2), {}, "softmax")
