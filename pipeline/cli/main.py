"""The `unet` command: finds the sub-command's module, parses, calls it. UserError becomes exit code 2; nothing heavy here."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from ..errors import UserError, nearest

# name → one line for `unet --help`, in the order in which a newcomer needs them. The module is pipeline/cli/NAME.py and
# holds DESCRIPTION, EXAMPLE, add_arguments(parser) and run(arguments) -> exit code.
COMMANDS = {
    "demo": "the whole chain on made-up CT scans, in a few minutes",
    "doctor": "is this machine ready? each problem with its fix",
    "inspect": "what a folder of scans holds, and what would be read",
    "manifest": "describe a data set: files, patients, folds, labels",
    "check": "find everything that would spoil a training",
    "network": "the table of the original U-Net: sizes, parameters, FLOPs",
    "augment": "a picture of what the network will see in training",
    "plan": "choose a training's settings, say what memory and time it will take",
    "train": "train a U-Net on a manifest, tracked by MLflow",
    "evaluate": "score predictions per case and structure",
    "compare": "is one run better than another? case by case, with intervals",
    "bundle": "package a training as a MONAI bundle",
    "predict": "segment DICOM series or NIfTI files with a bundle",
    "cohort": "segment hundreds of series: restartable, in parallel, on a cluster",
    "convert": "write a scan as NIfTI as it was read, or a mask on its grid",
    "ui": "open the MLflow page of all trainings",
}


# Imports make half a million objects that all stay. Looking for garbage among them takes a third of a short command: by
# default at every 700 new objects, and once more when the process ends.
OBJECTS_BETWEEN_LOOKS = (30_000, 5, 5)


class Parser(argparse.ArgumentParser):
    """argparse that names the nearest option for a slip of typing, in one line."""

    def __init__(self, **settings: object) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **settings)  # type: ignore[arg-type]

    def parse(self, words: list[str]) -> argparse.Namespace:
        """The arguments. Raises: UserError for a word that is none, with the nearest option."""
        parsed, unknown = self.parse_known_args(words)
        for word in unknown:
            if word.startswith("-"):
                options = [o for action in self._actions for o in action.option_strings if o.startswith("--")]
                self.error(f"{word.split('=')[0]} is not an option{nearest(word.split('=')[0], options)}")
            self.error(f"'{word}' is one argument too many")
        return parsed

    def error(self, message: str) -> NoReturn:
        raise UserError(message.rstrip("."), where=self.prog, next=f"'{self.prog} --help' lists what there is.")


def command() -> int:
    """`unet` as a process of its own."""
    gc.set_threshold(*OBJECTS_BETWEEN_LOOKS)
    try:
        return main()
    finally:
        gc.freeze()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Returns: 0 done, 2 bad input (one line on stderr), 130 stopped by Ctrl-C; a bug leaves as a traceback with exit code 1.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(words)
    except UserError as error:
        print(f"unet: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("unet: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `unet ... | head` closed the pipe: not worth a traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        from .. import __version__

        print(f"unet {__version__}")
        return 0
    name = words[0]
    if name not in COMMANDS:
        raise UserError(f"'{name}' is not a command{nearest(name, COMMANDS)}", next="'unet --help' lists them.")
    module = import_module(f".{name}", __package__)
    parser = Parser(prog=f"unet {name}", description=module.DESCRIPTION, epilog=f"example:\n  {module.EXAMPLE}")
    module.add_arguments(parser)
    arguments = parser.parse(words[1:])
    arguments.words = words  # as they were typed, for the record
    return int(module.run(arguments))


def _overview() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {line}" for name, line in COMMANDS.items())
    purpose = "Labelled scans in, a tracked and packaged U-Net out, DICOM series to mask."
    return f"usage: unet COMMAND [--help]\n\n{purpose}\n\n{rows}"
