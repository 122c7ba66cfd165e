"""`unet network`: the table of the network, by arithmetic alone (no torch)."""

from __future__ import annotations

import argparse

from ..network.sizes import Design, check_design, flops, output_side, steps, support

DESCRIPTION = """The table of the original U-Net: level, operation, channels, size, parameters.
Sizes follow the paper's figure 1 (572 in, 388 out); docs/network.md says where popular articles differ, and why."""
EXAMPLE = "unet network --input 572"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input", type=int, default=572, metavar="PX", help="side of a square input (default 572)")
    parser.add_argument("--padding", choices=("valid", "same"), default="valid", help="of the 3x3 convolutions (paper: valid)")
    parser.add_argument("--width", type=int, default=64, help="channels of the first level (paper: 64)")
    parser.add_argument("--depth", type=int, default=4, help="number of poolings (paper: 4)")
    parser.add_argument("--in-channels", type=int, default=1, help="image channels (paper: 1)")
    parser.add_argument("--classes", type=int, default=2, help="channels of the output (paper: 2)")
    parser.add_argument("--normalization", choices=("none", "batch"), default="none", help="behind each convolution")


def run(arguments: argparse.Namespace) -> int:
    design = Design(
        in_channels=arguments.in_channels,
        out_channels=arguments.classes,
        width=arguments.width,
        depth=arguments.depth,
        padding=arguments.padding,
        normalization=arguments.normalization == "batch",
    )
    check_design(design)
    out = output_side(design, arguments.input)
    print(f"{'level':<12}{'operation':<24}{'channels':>8}{'size':>14}{'parameters':>14}{'GFLOP':>9}")
    print(f"{'input':<12}{'':<24}{design.in_channels:>8}{_size(arguments.input):>14}")
    for step in steps(design, arguments.input):
        parameters = f"{step.parameters:,}" if step.parameters else ""
        cost = f"{step.flops / 1e9:.1f}" if step.flops else ""
        print(f"{step.level:<12}{step.operation:<24}{step.channels:>8}{_size(step.side):>14}{parameters:>14}{cost:>9}")
    spans = [last - first + 1 for first, last in (support(design, pixel) for pixel in range(design.stride))]
    below, above = arguments.input - design.stride, arguments.input + design.stride
    legal = [side for side in (below, arguments.input, above) if side >= design.smallest_side]
    print()
    print(f"in → out         {arguments.input} → {out} px; {design.border} px of border lost on each side")
    print(f"parameters       {design.parameters:,}")
    print(f"forward pass     {flops(design, arguments.input) / 1e9:.1f} GFLOP (multiply-adds counted as two)")
    print(f"receptive field  {_spans(spans)}")
    print(f"legal sides      {design.smallest_side} + {design.stride} k; here: {', '.join(map(str, legal))}")
    return 0


def _size(side: int) -> str:
    return f"{side} x {side}"


def _spans(spans: list[int]) -> str:
    return ", ".join(f"{span} px for {spans.count(span)} of {len(spans)} pooling phases" for span in sorted(set(spans)))
