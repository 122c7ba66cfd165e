"""The losses: MONAI's Dice and focal, and the paper's weighted cross entropy, for the project's heads.

Adds the choice of MONAI's many switches, each with the reason, and weights from how often each class occurs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..network.decide import Head

Loss = Callable[..., Tensor]  # scores (B, K, H, W), truth (B, 1 or K, H, W), and border weights where the batch has them


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """What a training makes small."""

    name: Literal["dice_focal", "dice", "focal", "cross_entropy"] = "dice_focal"
    background: bool = True  # has a Dice as the structures have; focal and cross entropy always judge it
    focal_weight: float = 1.0  # of the focal part, beside Dice
    class_weights: Literal["none", "census"] = "none"  # census: rare classes count more, by the training cases' own pixels
    border_weight: float = 0.0  # w0 between neighbouring cells, cross entropy only; 10 in the paper
    border_sigma_px: float = 5.0  # the paper's

    def problems(self) -> list[str]:
        """What is wrong with these settings, in words; empty when nothing is."""
        found = []
        for name, least, most in (("focal_weight", 0, 1000), ("border_weight", 0, 1000), ("border_sigma_px", 0.1, 100)):
            if not least <= getattr(self, name) <= most:  # NaN lies nowhere
                found.append(f"loss.{name} must be {least:g} to {most:g}, is {getattr(self, name):g}")
        if self.border_weight and self.name != "cross_entropy":
            found.append(f"loss.border_weight weighs pixels of loss.name: cross_entropy, {self.name} has no place for it")
        if self.focal_weight != 1 and self.name != "dice_focal":
            found.append(f"loss.focal_weight weighs focal beside Dice, in loss.name: dice_focal; {self.name} is one part alone")
        if not self.background and self.name not in ("dice_focal", "dice"):
            found.append(f"loss.background: false leaves the background's Dice out; loss.name: {self.name} has no Dice")
        return found


def build_loss(settings: LossSettings, head: Head, counts: Sequence[int] = ()) -> Loss:
    """The loss of one batch.

    Args:
        counts: how many pixels each class of the head has (background first for softmax); used with census weights only.
    Returns: a function of logits (B, K, H, W) and labels (B, 1, H, W) of class indices, or (B, K, H, W) of 0 and 1 for the
        sigmoid head, and for the cross entropy of border weights like the labels.
    """
    census = settings.class_weights == "census"
    if settings.name == "cross_entropy":
        return _cross_entropy(head, torch.tensor(_by_pixel(counts)) if census else None)
    parts = {"dice_focal": (1.0, settings.focal_weight), "dice": (1.0, 0.0), "focal": (0.0, 1.0)}[settings.name]
    return dice_focal_loss(head, parts=parts, weights=_by_class(counts) if census else None, background=settings.background)


def dice_focal_loss(
    head: Head, *, parts: tuple[float, float] = (1.0, 1.0), weights: Sequence[float] | None = None, background: bool = True
) -> Loss:
    """The loss of one batch, as `build_loss` returns it; 0 or more by definition (the Dice part is 1 - Dice).

    MONAI's DiceFocalLoss, but that the Dice part alone can leave out the background.

    Args:
        parts: weights of Dice and focal.
        weights: of each class, in both parts.
        background: the Dice part is the mean over all classes; else without the first.
    Source: Lin et al., arXiv:1708.02002 (focal); Milletari et al., arXiv:1606.04797 (Dice).
    """
    from monai.losses import DiceLoss, FocalLoss
    from monai.networks import one_hot

    exclusive = head == "softmax"
    dice = DiceLoss(
        softmax=exclusive,
        sigmoid=not exclusive,
        # A slice without a structure has no gradient of its own Dice (measured 1e-13): sum over the batch instead.
        batch=True,
        include_background=background,
        weight=weights if weights is None or background else weights[1:],
    )
    # A sigmoid of each channel under softmax too; without the background channel, nothing but the Dice part, if that, would
    # teach the background's logit.
    focal = FocalLoss(include_background=True, weight=weights)

    def of_batch(scores: Tensor, truth: Tensor) -> Tensor:
        # MONAI casts to float32 in the focal part only; bfloat16 logits shift the Dice part in the third decimal.
        scores = scores.float()
        masks = one_hot(truth, num_classes=scores.shape[1]) if exclusive else truth.float()
        value: Tensor = parts[0] * dice(scores, masks) + parts[1] * focal(scores, masks)
        return value

    return of_batch


def _cross_entropy(head: Head, weights: Tensor | None) -> Loss:
    """Mean over the pixels of w(x) times the cross entropy, w(x) = w_c(x) + border term; w_c is 1 without weights.

    Source: Ronneberger et al., arXiv:1505.04597, equations 1 and 2 (there the sum).
    """

    def of_batch(scores: Tensor, truth: Tensor, border: Tensor | None = None) -> Tensor:
        if head == "softmax":
            each = functional.cross_entropy(scores.float(), truth[:, 0].long(), reduction="none")[:, None]  # (B, 1, H, W)
            weight = torch.ones_like(each) if weights is None else weights.to(each)[truth.long()]
        else:
            each = functional.binary_cross_entropy_with_logits(scores.float(), truth.float(), reduction="none")
            weight = torch.ones_like(each) if weights is None else weights.to(each).view(1, -1, 1, 1).expand_as(each)
        return (each * (weight if border is None else weight + border)).mean()

    return of_batch


def _by_pixel(counts: Sequence[int]) -> list[float]:
    """Weights with which each class has the same share of the pixels, and a pixel weighs 1 on average.

    A class without pixels keeps 1.
    """
    present = [n for n in counts if n]
    return [sum(present) / (len(present) * n) if n else 1.0 for n in counts]


def _by_class(counts: Sequence[int]) -> list[float]:
    """Weights in the same proportion, 1 on average over the classes: each class has one Dice, whatever its size."""
    weights = np.array(_by_pixel(counts))
    return [float(weight) for weight in weights / weights.mean()]
