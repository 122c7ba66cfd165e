"""How fast this machine trains a U-Net, measured on a small one: server cores of two generations differ by a factor of five."""

from __future__ import annotations

import time
from functools import lru_cache

from ..cores import usable_cores
from .precision import Floats
from .sizes import Design, flops

SIDE_PX, BATCH = 64, 8  # enough pixels to fill two cores
MEASURED_S, FEWEST_RUNS = 0.5, 3  # the first run chooses kernels; the fastest counts, since another process may be at work


@lru_cache
def training_flops_per_s(precision: Floats) -> float:
    """Floating-point operations a second of forward and backward passes on the usable cores; takes about a second.

    A backward pass counts as two forward ones. Batch normalisation, pooling and copies take their time and count as nothing, as
    in the networks that are planned with this figure.
    """
    import torch

    from .unet import OriginalUNet

    design = Design(width=32, depth=3, padding="same")
    threads = torch.get_num_threads()
    torch.set_num_threads(usable_cores())
    try:
        with torch.random.fork_rng(devices=[]):  # whoever plans and then trains draws the same numbers as whoever trains
            network = OriginalUNet(width=32, depth=3, padding="same", normalization="batch")
            image = torch.randn(BATCH, 1, SIDE_PX, SIDE_PX).to(memory_format=torch.channels_last)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        fastest_s, started, runs = float("inf"), time.perf_counter(), 0
        while runs < FEWEST_RUNS or time.perf_counter() - started < MEASURED_S:
            began = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                scores = network(image)
            scores.float().square().mean().backward()
            fastest_s, runs = min(fastest_s, time.perf_counter() - began), runs + 1
    finally:
        torch.set_num_threads(threads)
    return 3 * flops(design, SIDE_PX) * BATCH / fastest_s
