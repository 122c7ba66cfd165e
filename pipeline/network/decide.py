"""From class scores (logits) to classes. Knows nothing of label values, files or millimetres."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Head = Literal["softmax", "sigmoid"]


def output_channels(structures: int, head: Head) -> int:
    """Channels that a head needs: one a structure, and one for the background where classes exclude each other."""
    return structures + 1 if head == "softmax" else structures


def decide(scores: Tensor, head: Head, *, overlapping: bool) -> Tensor:
    """The class of each pixel.

    Args:
        scores: (B, K, H, W) logits.
    Returns: uint8 (B, H, W) of class indices, 0 the background; for overlapping structures (B, K, H, W) of 0 and 1.
        The largest logit is the largest probability, and a logit above 0 a probability above 0.5: no softmax is needed.
    """
    if head == "softmax":
        if scores.shape[1] == 2:  # one comparison says the same, and the first again wins a tie
            return (scores[:, 1] > scores[:, 0]).to(torch.uint8)
        return scores.max(dim=1).indices.to(torch.uint8)  # the first of equals, as argmax, but many times faster on CPUs
    chosen = (scores > 0).to(torch.uint8)
    return chosen if overlapping else chosen[:, 0]
