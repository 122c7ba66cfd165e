"""The guide names every option, every column and every state that there is."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli import cohort as command
from pipeline.cohort.rows import COLUMNS
from pipeline.cohort.table import PAGE, TABLE

TEXT = (Path(__file__).parents[2] / "docs" / "cohort.md").read_text(encoding="utf-8")


def test_every_option_and_the_example_stand_in_the_guide() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    command.add_arguments(parser)
    options = [a.option_strings[-1].replace("--out", "-o") for a in parser._actions if a.option_strings]
    assert [word for word in (*options, command.EXAMPLE) if word not in TEXT] == []


def test_every_column_of_the_list_and_every_file_stands_in_the_guide() -> None:
    assert [word for word in (*COLUMNS, TABLE, PAGE) if f"`{word}`" not in TEXT] == []
