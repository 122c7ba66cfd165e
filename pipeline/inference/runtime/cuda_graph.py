"""On CUDA, the kernels of a network launched all at once: a small image is computed sooner than its kernels are launched one
by one."""

from __future__ import annotations

from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...network.tiling import SizedNetwork
from .few_sizes import FewSizes

WARM_UPS = 3  # libraries choose and set up their kernels meanwhile, which must not be recorded


class Recording(NamedTuple):
    """A recorded computation: it reads `image` and leaves `scores`, and what comes between, always in the same memory."""

    graph: torch.cuda.CUDAGraph
    image: Tensor
    scores: Tensor


class Recorded(nn.Module):
    """A network whose work is recorded for each size of image when that first comes, then replayed (CUDA graphs).

    Args:
        network: on CUDA, in evaluation mode; what it does depends on the size of the image alone.
    Shapes: as the network's. One answer at a time: a recording always works in the same memory.
    """

    def __init__(self, network: SizedNetwork) -> None:
        super().__init__()
        self.design, self.output = network.design, network.output
        self._network = network
        self._recordings: FewSizes[Recording] = FewSizes()
        self._one = Lock()

    @torch.inference_mode()
    def forward(self, image: Tensor) -> Tensor:
        with self._one:
            recording = self._recordings.of(tuple(image.shape), lambda: self._recorded(image))
            recording.image.copy_(image)
            recording.graph.replay()
            return recording.scores.clone()

    def _recorded(self, image: Tensor) -> Recording:
        given = image.clone()
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                self._network(given)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may go on copying
            scores = self._network(given)
        return Recording(graph, given, scores)
