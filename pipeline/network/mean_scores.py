"""Several answers about one image averaged: their probabilities, not their scores, or the loudest would outvote the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from .decide import Head


def mean_scores(each: Iterable[Tensor], head: Head) -> Tensor:
    """The scores whose softmax (or sigmoid) is the mean of these scores': whatever takes a network's scores takes them.

    In logarithms, and one after the other: exact also where a probability is too small for a float, and two are held at a time.

    Args:
        each: (B, K, H, W) logits, at least one.
    """
    found: Tensor | None = None
    against: Tensor | None = None  # sigmoid: the same of the opposite
    number = 0
    for scores in each:
        number += 1
        log = log_softmax(scores, dim=1) if head == "softmax" else logsigmoid(scores)
        found = log if found is None else torch.logaddexp(found, log)
        if head == "sigmoid":
            no = logsigmoid(-scores)
            against = no if against is None else torch.logaddexp(against, no)
    assert found is not None
    return found - math.log(number) if against is None else found - against
