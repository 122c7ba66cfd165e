"""The loss against its definition, worked out beside MONAI: Dice over the batch plus focal, for each head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.training.loss import dice_focal_loss


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
