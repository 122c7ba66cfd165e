"""Which runtimes there are, and what each needs and can. Starting one replaces the network by one that answers the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import cast, get_args

import torch

from ...errors import UserError, nearest
from ...network.ensemble import Ensemble
from ...network.precision import Precision, has_native_bf16
from ...network.tiling import SizedNetwork
from ...network.unet import OriginalUNet
from .converted import Converted

# network in evaluation mode, precision, device, and what gives its ONNX graph → what computes it
Start = Callable[[OriginalUNet, Precision, torch.device, Callable[[], bytes]], SizedNetwork]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """One row of the table: a module with a function `start` of the kind `Start`."""

    module: str
    packages: tuple[str, ...]  # that must be installed
    extra: str = ""  # of `pip install unet[...]`, which installs them
    precisions: tuple[Precision, ...]
    devices: tuple[str, ...]
    fewer_products: bool = False  # by `winograd.py`


OPENVINO = Runtime(
    module=".openvino_runtime",
    packages=("openvino", "onnx"),
    extra="openvino",
    precisions=("fp32", "bf16", "int8"),
    devices=("cpu",),
)
RUNTIMES = {
    "torch": Runtime(module=".torch_runtime", packages=("torch",), precisions=("fp32", "bf16"), devices=("cpu", "cuda", "mps")),
    "openvino": OPENVINO,
    # A fifth to a quarter of the time less in fp32, and in bf16 by vectors (seen on a Zen 4); more than without where a matrix
    # unit (AMX) makes products nearly free (seen on a Granite Rapids).
    "openvino-winograd": replace(OPENVINO, precisions=("fp32", "bf16"), fewer_products=True),
    "onnxruntime": Runtime(
        module=".onnx_runtime", packages=("onnxruntime", "onnx"), extra="onnxruntime", precisions=("fp32",), devices=("cpu",)
    ),
}


def lacks(name: str) -> str:
    """The first package that a runtime needs and that is not installed; "" where there is none."""
    return next((package for package in RUNTIMES[name].packages if find_spec(package) is None), "")


def check(name: str, precision: str, device: torch.device) -> None:
    """Raises: UserError where the runtime is unknown, not installed, or cannot compute so here. "auto" stands for any."""
    if name not in ("auto", *RUNTIMES):
        raise UserError(f"'{name}' is not a runtime{nearest(name, ['auto', *RUNTIMES])}", where="--runtime")
    precisions = ("auto", *get_args(Precision))
    if precision not in precisions:
        raise UserError(f"'{precision}' is not a precision{nearest(precision, precisions)}", where="--precision")
    if precision == "int8" and device.type != "cpu":
        raise UserError("int8 is computed on the CPU alone", where="--precision", next="Add --device cpu.")
    if name == "auto" and precision == "int8":
        name = "openvino"  # no other is faster in eight bits
    if name != "auto":
        row, absent = RUNTIMES[name], lacks(name)
        if absent:
            raise UserError(f"{absent} is not installed", where="--runtime", next=f"Type: pip install 'unet[{row.extra}]'")
        if device.type not in row.devices:
            raise UserError(f"{name} does not run on {device.type}", where="--runtime", next="Use --runtime torch.")
        if precision not in ("auto", *row.precisions):
            can = [other for other in RUNTIMES if precision in RUNTIMES[other].precisions]
            what = f"{name} computes {' and '.join(row.precisions)}, not {precision}"
            raise UserError(what, where="--precision", next=f"Use --runtime {' or '.join(can)}.")
    if precision == "bf16" and not has_native_bf16(device.type):
        what = "this processor has no instructions for bfloat16, which would be slower than single precision"
        raise UserError(what, where="--precision", next="Use --precision fp32.")


def started(
    name: str, precision: Precision, network: OriginalUNet | Ensemble, device: torch.device, converted: Converted
) -> SizedNetwork:
    """The network computed by this runtime: the same sizes in and out, scores in float32.

    Args:
        name, precision: as `check` lets pass.
        converted: keeps the network's graph for the next process.
    """
    row = RUNTIMES[name]
    start: Start = import_module(row.module, __package__).start

    def one(network: OriginalUNet, number: int = 0) -> SizedNetwork:
        graph = converted.of(network, precision, number, fewer_products=row.fewer_products)
        return start(network, precision, device, graph)

    if not isinstance(network, Ensemble):
        return one(network)
    members = cast(Sequence[OriginalUNet], network.members)
    return Ensemble([one(member, number) for number, member in enumerate(members)], network.head).eval()
