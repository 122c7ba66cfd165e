"""Which runtime and precision serve a bundle on this machine: of those that give the answer of torch in fp32, the one that
segments a series first, its own start included.

Tried once on a small image, and remembered for the bundle, the processor and the versions installed.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from ...cores import usable_cores
from ...errors import UserError
from ...io.paths import write_text
from ...network.ensemble import Ensemble
from ...network.precision import Precision, has_native_bf16
from ...network.sizes import Design, flops, input_side_for
from ...network.tiling import SizedNetwork
from ...network.unet import OriginalUNet
from .catalogue import RUNTIMES, check, lacks, started
from .converted import Converted, cache_folder

CHOICE_FORMAT = 5
OUTPUT_PX = 256  # of the image that is tried: the work of a slice without its cost
SMALL_FLOPS = 2e9  # for such an image: of a network so small, loading another library takes longer than a series saves
SERIES_SLICES = 100  # that a process segments: over so many, a fast runtime makes up for loading and preparing itself
CPU_INFO = Path("/proc/cpuinfo")
KIND_OF_PROCESSOR = ("model", "flags", "CPU part", "Features")  # lines of it, the last two on ARM
RUNS = 3  # after the first, which sets things up; the fastest counts
# Root of the mean squared difference from torch's fp32 scores, in standard deviations of these. Rounding to bfloat16 in some
# twenty layers gives 0.005 to 0.02, another order of sums in fp32 below 1e-5; a wrong result gives about 1. Eight bits are made
# for scans, and what is tried is none: how much they lose on scans stands in the bundle's model card.
TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "bf16": 0.05, "int8": 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What computes the network."""

    runtime: str
    precision: Precision


REFERENCE = Choice(runtime="torch", precision="fp32")


def choose(
    network: OriginalUNet | Ensemble,
    converted: Converted,
    *,
    device: torch.device,
    runtime: str = "auto",
    precision: str = "auto",
) -> Choice:
    """The runtime and precision, where the caller leaves them open.

    Args:
        network: an `OriginalUNet` or an `Ensemble`, in evaluation mode.
        converted: of the bundle.
        runtime, precision: "auto", or what it must be; int8 only serves whoever asks for it.
    Raises: UserError where what is asked for is not installed, not possible here, or gives another answer.
    """
    check(runtime, precision, device)
    if precision == "int8" and not converted.ranges:
        what = "this bundle was not prepared for int8"
        raise UserError(what, where="--precision", next="Build it with 'unet bundle build RUN -o BUNDLE --int8'.")
    candidates = list(_candidates(runtime, precision, device))
    small = flops(network.design, _side(network.design)) < SMALL_FLOPS
    if candidates == [REFERENCE] or (small and REFERENCE in candidates):
        return REFERENCE
    file = _file(converted.digest, device, candidates)
    choice = _remembered(file, candidates)
    if choice is None:
        found, fault = _tried(network, candidates, converted, device)
        proven = {one: facts["series_s"] for one, facts in found.items() if facts["difference"] <= TOLERANCE[one.precision]}
        if not proven:
            what = f"on this machine, {candidates[0].runtime} does not give the answer of torch in fp32"
            if not found:
                what = f"on this machine, {candidates[0].runtime} cannot compute the network ({fault})"
            raise UserError(what, where="--runtime", next="Use --runtime torch --precision fp32.")
        choice = min(proven, key=lambda one: proven[one])
        _remember(file, choice, found)
    return choice


def _candidates(runtime: str, precision: str, device: torch.device) -> Iterator[Choice]:
    """All that the caller allows and this machine can do; fp32 by torch first."""
    for name, kind in product(RUNTIMES, get_args(Precision)):
        row = RUNTIMES[name]
        if runtime not in ("auto", name) or precision not in ("auto", kind) or (kind == "int8" and precision != kind):
            continue
        possible = device.type in row.devices and kind in row.precisions and not lacks(name)
        if possible and (kind != "bf16" or has_native_bf16(device.type)):
            yield Choice(runtime=name, precision=kind)


def _side(design: Design) -> int:
    return input_side_for(design, OUTPUT_PX)


def _tried(
    network: OriginalUNet | Ensemble, candidates: list[Choice], converted: Converted, device: torch.device
) -> tuple[dict[Choice, dict[str, float]], str]:
    """What is found of each candidate, and why others did not run.

    "start_s", "slice_s": seconds to the first answer and for each further one; "series_s": of a series, from these;
    "difference": of its scores from torch's in fp32.
    """
    side = _side(network.design)
    image = torch.randn(1, network.design.in_channels, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    found, fault = {}, ""

    def answer(one: Choice) -> tuple[Tensor, dict[str, float]]:
        return _answer(lambda: started(one.runtime, one.precision, network, device, converted), image)

    with torch.inference_mode():
        reference, took = answer(REFERENCE)
        for one in candidates:
            if one == REFERENCE:
                found[one] = {**took, "difference": 0.0}
                continue
            try:
                scores, took = answer(one)
            except Exception as error:  # of any kind: libraries have their own. What does not run here is no choice
                fault = (str(error).strip() or repr(error)).splitlines()[0]
                continue
            difference = (scores - reference).square().mean().sqrt() / reference.std()
            found[one] = {**took, "difference": float(difference)}
    return found, fault


def _answer(start: Callable[[], SizedNetwork], image: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The scores, and the seconds: to the first answer, and of the fastest of a few more."""
    began = time.perf_counter()
    network = start()
    scores: Tensor = network(image).cpu()
    start_s, slice_s = time.perf_counter() - began, float("inf")
    for _ in range(RUNS):
        began = time.perf_counter()
        scores = network(image).cpu()
        slice_s = min(slice_s, time.perf_counter() - began)
    return scores, {"start_s": start_s, "slice_s": slice_s, "series_s": start_s + (SERIES_SLICES - 1) * slice_s}


def _file(digest: str, device: torch.device, candidates: list[Choice]) -> Path:
    here = {
        "format": CHOICE_FORMAT,
        "bundle": digest,
        "processor": _processor(device),
        "cores": usable_cores(),
        "versions": {package: _version(package) for package in ("torch", "openvino", "onnxruntime")},
        "candidates": [asdict(one) for one in candidates],
    }
    key = hashlib.sha256(json.dumps(here, sort_keys=True).encode()).hexdigest()
    return cache_folder() / f"choice-{key[:32]}.json"


def _processor(device: torch.device) -> str:
    """Of which kind it is. Virtual machines give one name to processors that compute by different instructions: these count."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name())
    with suppress(OSError):
        text = CPU_INFO.read_text(encoding="utf-8", errors="replace")
        facts = [line for line in text.partition("\n\n")[0].splitlines() if line.startswith(KIND_OF_PROCESSOR)]
        if facts:
            return "\n".join(facts)
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _remembered(file: Path, candidates: list[Choice]) -> Choice | None:
    try:
        choice = Choice(**json.loads(file.read_text(encoding="utf-8"))["choice"])
    except (OSError, ValueError, TypeError, KeyError):  # none yet, or a damaged one
        return None
    return choice if choice in candidates else None


def _remember(file: Path, choice: Choice, found: dict[Choice, dict[str, float]]) -> None:
    facts: dict[str, Any] = {
        "choice": asdict(choice),
        "tried": [{**asdict(one), **facts} for one, facts in found.items()],
    }
    with suppress(OSError):  # whoever may not write tries again the next time
        write_text(file, json.dumps(facts, indent=1) + "\n")
