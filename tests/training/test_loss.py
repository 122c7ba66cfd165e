"""The losses against their definitions, worked out beside MONAI and PyTorch, for each head; class and border weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.training.loss import LossSettings, build_loss, dice_focal_loss

LN2 = 0.69314718


def by_definition(probabilities: np.ndarray, sigmoids: np.ndarray, truth: np.ndarray) -> float:
    """1 - Dice per channel over batch and pixels, plus the focal term with gamma 2; arrays (B, K, H, W)."""
    axes = (0, 2, 3)
    dice = 2 * (probabilities * truth).sum(axes) / (probabilities.sum(axes) + truth.sum(axes))
    right = np.where(truth == 1, sigmoids, 1 - sigmoids)
    return float((1 - dice).mean() - ((1 - right) ** 2 * np.log(right)).mean())


def example(channels: int) -> tuple[torch.Tensor, np.ndarray]:
    """Logits (2, K, 4, 5) and classes 0 to 2 (2, 1, 4, 5)."""
    random = np.random.default_rng(0)
    logits = torch.tensor(random.normal(0, 2, (2, channels, 4, 5)), dtype=torch.float32)
    return logits, random.integers(0, 3, (2, 1, 4, 5)).astype(np.uint8)


def test_two_classes_of_equal_score_cost_what_paper_and_pencil_say():
    truth = torch.tensor([[[[1, 1], [0, 0]]]], dtype=torch.uint8)
    # Dice of each class 2 * 1 / (2 + 2) = 0.5; focal 0.5 ** 2 * ln 2
    assert dice_focal_loss("softmax")(torch.zeros(1, 2, 2, 2), truth).item() == pytest.approx(0.5 + 0.25 * np.log(2), abs=1e-5)


def test_exclusive_classes_equal_the_definition():
    logits, classes = example(3)
    one_hot = np.concatenate([classes == k for k in range(3)], axis=1).astype(float)
    z = logits.numpy().astype(float)
    softmax = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    expected = by_definition(softmax, 1 / (1 + np.exp(-z)), one_hot)
    assert dice_focal_loss("softmax")(logits, torch.from_numpy(classes)).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("structures", [1, 2])
def test_overlapping_and_binary_structures_equal_the_definition(structures):
    logits, classes = example(structures)
    masks = np.concatenate([classes >= k + 1 for k in range(structures)], axis=1)
    sigmoid = 1 / (1 + np.exp(-logits.numpy().astype(float)))
    expected = by_definition(sigmoid, sigmoid, masks.astype(float))
    found = dice_focal_loss("sigmoid")(logits, torch.from_numpy(masks.astype(np.uint8))).item()
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_the_loss_is_never_below_zero_and_near_it_when_all_is_right(head):
    truth = torch.randint(0, 2, (2, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    signed = 40.0 * truth - 20
    right = torch.cat([-signed, signed], dim=1) if head == "softmax" else signed
    loss = dice_focal_loss(head)
    assert 0 <= loss(right, truth).item() < 1e-3
    for scale in (0.1, 1, 30, 1000):
        logits = scale * torch.randn(right.shape, generator=torch.Generator().manual_seed(1))
        assert 0 <= loss(logits, truth).item() < float("inf")


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_slices_without_a_structure_teach_too(head):
    logits = torch.zeros(2, 2 if head == "softmax" else 1, 8, 8, requires_grad=True)
    truth = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    truth[0, 0, 2:5, 2:5] = 1
    dice_focal_loss(head)(logits, truth).backward()
    empty, full = logits.grad[1].abs().mean().item(), logits.grad[0].abs().mean().item()
    assert empty > 0.3 * full


def test_half_precision_scores_are_judged_in_single_precision():
    logits, classes = example(3)
    half = logits.to(torch.bfloat16)
    loss = dice_focal_loss("softmax")
    assert loss(half, torch.from_numpy(classes)).item() == loss(half.float(), torch.from_numpy(classes)).item()


# --- the other losses; all scores 0, so that every class of two has probability 0.5

CORNER = torch.tensor([[[[1, 0], [0, 0]]]], dtype=torch.uint8)  # Dice 2 * 1.5 / (2 + 3) = 0.6 and 2 * 0.5 / (2 + 1) = 1 / 3
EVEN = torch.zeros(1, 2, 2, 2)


@pytest.mark.parametrize(
    ("name", "weights", "wanted"),
    [
        ("dice", "none", (0.4 + 2 / 3) / 2),
        ("focal", "none", 0.25 * LN2),
        ("dice_focal", "none", (0.4 + 2 / 3) / 2 + 0.25 * LN2),
        ("cross_entropy", "none", LN2),
        # 3 and 1 pixels: 0.5 and 1.5 of a mean of 1
        ("dice", "census", (0.5 * 0.4 + 1.5 * 2 / 3) / 2),
        ("focal", "census", 0.25 * LN2),
        # 4 / (2 * 3) for each of three pixels, 4 / (2 * 1) for the one: 1 on average
        ("cross_entropy", "census", LN2),
    ],
)
def test_each_loss_is_what_paper_and_pencil_say(name, weights, wanted):
    loss = build_loss(LossSettings(name=name, class_weights=weights), "softmax", [3, 1])
    assert loss(EVEN, CORNER).item() == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"background": False}, 2 / 3 + 0.25 * LN2),
        ({"background": False, "class_weights": "census"}, 2 / 3 + 0.25 * LN2),  # one Dice is its own mean
        ({"background": False, "name": "dice"}, 2 / 3),
        ({"focal_weight": 3.0}, (0.4 + 2 / 3) / 2 + 3 * 0.25 * LN2),
    ],
)
def test_the_dice_of_the_background_may_be_left_out_and_focal_may_weigh_more(settings, wanted):
    assert build_loss(LossSettings(**settings), "softmax", [3, 1])(EVEN, CORNER).item() == pytest.approx(wanted, abs=1e-4)


def test_a_background_without_a_dice_is_still_taught():
    scores = EVEN.clone().requires_grad_()
    build_loss(LossSettings(background=False), "softmax")(scores, CORNER).backward()
    assert (scores.grad[0, 0] != 0).all()


def test_rare_classes_weigh_more_in_the_cross_entropy_and_absent_ones_as_usual():
    loss = build_loss(LossSettings(name="cross_entropy", class_weights="census"), "softmax", [3, 1, 0])
    scores = torch.zeros(1, 3, 1, 3)
    for position, weight in ((0, 4 / 6), (1, 4 / 2), (2, 1)):
        truth = torch.full((1, 1, 1, 3), position, dtype=torch.uint8)
        assert loss(scores, truth).item() == pytest.approx(weight * np.log(3), abs=1e-5)


def test_border_weights_come_on_top_of_the_classes():
    loss = build_loss(LossSettings(name="cross_entropy", class_weights="census", border_weight=10.0), "softmax", [3, 1])
    border = torch.tensor([[[[0.0, 6.0], [0.0, 0.0]]]])
    assert loss(EVEN, CORNER, border).item() == pytest.approx((4 + 6) / 4 * LN2, abs=1e-5)


def test_overlapping_structures_have_a_cross_entropy_each():
    scores, truth = torch.zeros(1, 2, 1, 2), torch.tensor([[[[1, 0]], [[1, 1]]]], dtype=torch.uint8)
    scores[0, 0, 0, 0] = np.log(3)  # probability 3 / 4
    by_hand = (np.log(4 / 3), LN2, LN2, LN2)
    plain = build_loss(LossSettings(name="cross_entropy"), "sigmoid")
    assert plain(scores, truth).item() == pytest.approx(sum(by_hand) / 4, abs=1e-5)
    weighted = build_loss(LossSettings(name="cross_entropy", class_weights="census"), "sigmoid", [1, 3])  # 2 and 2 / 3
    wanted = (2 * (by_hand[0] + by_hand[1]) + 2 / 3 * (by_hand[2] + by_hand[3])) / 4
    assert weighted(scores, truth).item() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("name", ["dice", "focal", "cross_entropy"])
@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_each_loss_is_near_zero_when_all_is_right_and_finite_when_all_is_wrong(head, name):
    truth = torch.randint(0, 2, (2, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    signed = 40.0 * truth - 20
    right = torch.cat([-signed, signed], dim=1) if head == "softmax" else signed
    loss = build_loss(LossSettings(name=name), head)
    assert 0 <= loss(right, truth).item() < 1e-3
    assert 0.5 < loss(-1000 * right, truth).item() < float("inf")
