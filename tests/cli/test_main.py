"""The `unet` command itself: help, slips of typing, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from pipeline.cli.main import COMMANDS, main

Unet = Callable[..., subprocess.CompletedProcess[str]]
HEAVY = (
    "torch",
    "monai",
    "mlflow",
    "ignite",
    "numpy",
    "scipy",
    "skimage",
    "matplotlib",
    "pandas",
    "pydicom",
    "nibabel",
    "SimpleITK",
)


SCRIPT = """
import json, sys
from pipeline.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass  # argparse leaves so after its help
print(json.dumps(sorted(sys.modules)))
"""


def loaded_by(*words: str) -> set[str]:
    """Heavy packages in memory after a command line, in a fresh process."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1])) & set(HEAVY)


def test_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == main([]) == main(["help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out and line in out for name, line in COMMANDS.items())


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS), ["no-such-command"]])
def test_help_and_slips_load_nothing_heavy(words: list[str]) -> None:
    assert loaded_by(*words) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        main([name, "--help"])
    assert leave.value.code == 0
    module = import_module(f"pipeline.cli.{name}")
    out = capsys.readouterr().out
    assert module.EXAMPLE.startswith(f"unet {name}") and module.EXAMPLE in out
    assert " ".join(module.DESCRIPTION.split()) in " ".join(out.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is_for(name: str) -> None:
    from pipeline.cli.main import Parser

    parser = Parser(prog=name)
    import_module(f"pipeline.cli.{name}").add_arguments(parser)
    assert [action.dest for action in parser._actions if not action.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_example_is_a_command_line_that_parses(name: str) -> None:
    import shlex

    from pipeline.cli.main import Parser

    module = import_module(f"pipeline.cli.{name}")
    parser = Parser(prog=name)
    module.add_arguments(parser)
    parser.parse(shlex.split(module.EXAMPLE)[2:])


@pytest.mark.parametrize(("typed", "meant"), [("predikt", "predict"), ("trian", "train"), ("--hlep", "")])
def test_unknown_command_names_the_nearest(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([typed]) == 2
    words = capsys.readouterr().err
    assert words.count("\n") == 1 and f"'{typed}' is not a command" in words
    assert f"did you mean {meant}?" in words or not meant


@pytest.mark.parametrize(
    ("words", "meant"),
    [(["doctor", "--foldr", "x"], "--folder"), (["ui", "--prot=5"], "--port"), (["network", "--dept", "3"], "--depth")],
)
def test_unknown_option_names_the_nearest(words: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err


def test_shortened_option_is_not_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--fold", "x"]) == 2
    assert "is not an option" in capsys.readouterr().err


def test_one_argument_too_many_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "here"]) == 2
    assert "'here' is one argument too many" in capsys.readouterr().err


def test_wrong_value_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ui", "--port", "many"]) == 2
    words = capsys.readouterr().err
    assert "--port" in words and words.count("\n") == 1


def test_both_doors_are_the_same_command(unet: Unet) -> None:
    import pipeline

    installed = subprocess.run([Path(sys.executable).with_name("unet"), "--version"], capture_output=True, text=True)
    assert unet("--version").stdout == installed.stdout == f"unet {pipeline.__version__}\n"


def test_reader_that_goes_away_gets_no_traceback() -> None:
    command = f"{sys.executable} -m pipeline network | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stderr == "" and done.stdout.count("\n") == 1


def test_package_opens_without_loading_anything() -> None:
    script = "import json, sys, pipeline; dir(pipeline); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) & set(HEAVY) == set()
