"""How sure a network may be: one temperature for its scores, and how far its confidence is from how often it is right.

Judged on pixels of the region around structures: far away everything is background and surely so, and pixels there, however
many a scan has, would make any network look calibrated.

Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, arXiv:1706.04599, sections 2 and 4.2.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..network.decide import Head

BINS = 15  # of equal width, as in the paper
AROUND_PX = 5  # the region: pixels at most this far, along rows and columns, from a structure in truth or prediction
MOST_PIXELS = 400_000  # of all cases together: enough for a bin's accuracy to +-0.01, few enough for a second of fitting
MOST_OF_A_CASE = 20_000
LIMITS = (0.05, 20.0)  # of the temperature


class PixelSample:
    """Pixels drawn evenly from the region of one case, while its slices pass by; never more than `most` are held.

    Args:
        seed: equal seeds draw equal pixels.
    """

    def __init__(self, most: int, *, seed: int) -> None:
        self.most = most
        self.random = torch.Generator().manual_seed(seed)
        self.keys = torch.empty(0, dtype=torch.float64)  # each pixel draws a number, and the smallest stay
        self.scores: list[Tensor] = []
        self.truth: list[Tensor] = []

    def add(self, scores: Tensor, truth: Tensor, found: Tensor) -> None:
        """Some slices.

        Args:
            scores: (B, K, H, W).
            truth, found: (B, H, W) of class indices, or (B, structures, H, W) of 0 and 1; uint8.
        """
        places = _around(truth, found).nonzero()
        keys = torch.rand(len(places), generator=self.random, dtype=torch.float64)
        limit = self.keys.max() if len(self.keys) >= self.most else torch.tensor(1.0)
        drawn = places[(keys < limit).to(places.device)]
        slices, rows, columns = drawn.unbind(dim=1)
        self.keys = torch.cat([self.keys, keys[keys < limit]])
        self.scores.append(scores[slices, :, rows, columns].cpu())
        self.truth.append((truth[slices, :, rows, columns] if truth.ndim == 4 else truth[slices, rows, columns]).cpu())
        if len(self.keys) > self.most:
            stay = self.keys.topk(self.most, largest=False).indices
            self.keys = self.keys[stay]
            self.scores, self.truth = [torch.cat(self.scores)[stay]], [torch.cat(self.truth)[stay]]

    def take(self) -> tuple[np.ndarray, np.ndarray]:
        """(n, K) scores; (n,) class indices or (n, structures) of 0 and 1."""
        return torch.cat(self.scores).float().numpy(), torch.cat(self.truth).numpy()


def _around(truth: Tensor, found: Tensor) -> Tensor:
    """(B, H, W) bool."""
    there = (truth > 0) | (found > 0)
    there = there.any(dim=1) if there.ndim == 4 else there
    side = 2 * AROUND_PX + 1
    return torch.nn.functional.max_pool2d(there.float()[:, None], side, stride=1, padding=AROUND_PX)[:, 0] > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Pixels of about equal confidence."""

    confidence: float | None  # mean; None: no pixel is as sure as that
    accuracy: float | None  # share that is right
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """One temperature, and what it changed."""

    temperature: float
    ece_before: float
    ece_after: float
    nll_before: float
    nll_after: float
    pixels: int
    bins_before: tuple[Bin, ...]
    bins_after: tuple[Bin, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain types, with what they were counted on."""
        return {"region": f"pixels within {AROUND_PX} px of a structure in truth or prediction", **asdict(self)}


def calibrate(scores: np.ndarray, truth: np.ndarray, head: Head) -> Calibration:
    """Fit the temperature with the smallest negative log-likelihood, and count how calibrated the scores are with and without.

    Args:
        scores: (n, K), n at least 1.
        truth: (n,) class indices, or for overlapping structures (n, structures) of 0 and 1.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(scores / np.exp(log_temperature), truth, head)

    low, high = LIMITS
    fitted = minimize_scalar(loss, bounds=(math.log(low), math.log(high)), method="bounded", options={"xatol": 1e-4})
    temperature = float(np.exp(fitted.x))
    before, after = (reliability(*confidence(s, truth, head)) for s in (scores, scores / temperature))
    return Calibration(
        temperature=temperature,
        ece_before=expected_calibration_error(before),
        ece_after=expected_calibration_error(after),
        nll_before=loss(0.0),
        nll_after=float(fitted.fun),
        pixels=len(scores),
        bins_before=before,
        bins_after=after,
    )


def negative_log_likelihood(scores: np.ndarray, truth: np.ndarray, head: Head) -> float:
    """Mean over pixels, or with a sigmoid over pixels and structures."""
    if head == "softmax":
        largest = scores.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(scores - largest).sum(axis=1)) + largest[:, 0]
        return float(np.mean(log_sum - scores[np.arange(len(scores)), truth]))
    return float(np.mean(np.logaddexp(0, scores) - truth.reshape(scores.shape) * scores))


def confidence(scores: np.ndarray, truth: np.ndarray, head: Head) -> tuple[np.ndarray, np.ndarray]:
    """How probable the chosen class is by the network, and whether it is right: one entry a pixel, or pixel and structure."""
    if head == "softmax":
        exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
        return 1 / exponents.sum(axis=1), scores.argmax(axis=1) == truth  # the largest exponent is 1
    return 1 / (1 + np.exp(-np.abs(scores.reshape(-1)))), (scores > 0).reshape(-1) == truth.reshape(-1).astype(bool)


def reliability(confidences: np.ndarray, right: np.ndarray) -> tuple[Bin, ...]:
    """The table behind a reliability diagram; a bin holds its upper edge."""
    places = np.clip(np.ceil(confidences * BINS).astype(int) - 1, 0, BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    sure, correct = (np.bincount(places, weights=values, minlength=BINS) for values in (confidences, right))
    return tuple(
        Bin(confidence=float(s / n) if n else None, accuracy=float(c / n) if n else None, count=int(n))
        for s, c, n in zip(sure, correct, counts, strict=True)
    )


def expected_calibration_error(bins: tuple[Bin, ...]) -> float:
    """Mean over the pixels of the distance between confidence and accuracy of their bin."""
    total = sum(one.count for one in bins)
    return sum(one.count * abs((one.accuracy or 0.0) - (one.confidence or 0.0)) for one in bins) / total
