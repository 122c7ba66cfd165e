"""`unet network` and its page say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.network.sizes import Design, reach, steps

PAGE = (Path(__file__).parents[2] / "docs" / "network.md").read_text(encoding="utf-8")


def test_the_example_of_the_page_is_what_the_command_prints(capsys):
    assert main(["network", "--input", "572"]) == 0
    printed = capsys.readouterr().out.splitlines()
    shown = re.search(r"```console\n\$ unet network --input 572\n(.*?)```", PAGE, re.DOTALL).group(1).splitlines()
    assert len(shown) > 6
    assert all(line in printed for line in shown if line != "...")


def test_the_refusal_of_the_page_is_what_the_command_prints(capsys):
    assert main(["network", "--input", "570"]) == 2
    assert capsys.readouterr().err.strip() in PAGE


@pytest.mark.parametrize("level", ["encoder 1", "encoder 2", "encoder 3", "encoder 4", "bottleneck", "decoder 4", "decoder 1"])
def test_the_table_of_the_page_has_the_networks_sizes(level):
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {level} |"))
    sides = [step.side for step in steps(Design(), 572) if step.level == level and "convolution 3x3" in step.operation]
    assert f"| {sides[0]}, {sides[1]} |" in row


def test_the_page_names_how_far_a_pixel_sees_and_the_network_it_tells_of():
    assert f"up to {reach(Design())} px inwards" in PAGE
    assert f"{Design().parameters:,}" in PAGE
    assert f"{Design(out_channels=1).parameters:,}" in PAGE


def test_other_designs_are_printed_too(capsys):
    assert main(["network", "--input", "64", "--padding", "same", "--width", "8", "--depth", "2", "--classes", "5"]) == 0
    out = capsys.readouterr().out
    assert "64 → 64 px; 0 px of border" in out
    assert "4 + 4 k" in out
    assert main(["network", "--depth", "9"]) == 2
    assert "depth must be 1 to 6, is 9" in capsys.readouterr().err
