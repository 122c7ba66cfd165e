"""Which number formats this machine computes natively. Others are emulated, and slower than single precision."""

from __future__ import annotations

from typing import Literal

Floats = Literal["fp32", "bf16"]  # what a network can be trained in
Precision = Literal[Floats, "int8"]


def has_native_bf16(device: str) -> bool:
    """Whether multiplications of bfloat16 are instructions of the processor.

    Args:
        device: "cpu", "cuda" or "mps".
    """
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "mps":
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and bool(torch.cpu._is_avx512_bf16_supported())
