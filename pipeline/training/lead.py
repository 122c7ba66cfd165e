"""One training by many processes: the first leads, prepares and tells the others which run folder is trained; they follow.

    torchrun --nproc-per-node N -m pipeline train ...

starts N processes with the same words. Only the leader reads them, plans, writes files and speaks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from ..errors import UserError
from . import world
from .run_folder import RunFolder
from .split import split

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def led(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Makes a function that trains one that several processes call together; alone, it stays as it is.

    The result is the leader's; the others end with SystemExit when there is nothing left to follow.
    """

    @wraps(function)
    def of_one_or_many(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        if not world.started_with_others() or world.size() > 1:
            return function(*arguments, **named)
        with world.together():
            if not world.leads():
                _follow()
                raise SystemExit(0)
            try:
                return function(*arguments, **named)
            finally:
                tell_end()

    return of_one_or_many


_in_session = False


def tell_session(folder: RunFolder, budget_s: float | None) -> None:
    """The leader trains in this folder now, and the others with it."""
    global _in_session
    if world.size() > 1:
        world.told({"folder": str(folder.path.resolve()), "budget_s": budget_s})
        _in_session = True


def tell_session_ended() -> None:
    """The session came to its end, in every process."""
    global _in_session
    _in_session = False


def tell_end() -> None:
    """There is nothing more to follow. After a session that broke off nobody listens: the others notice the broken line."""
    if not _in_session:
        world.told()


def _follow() -> None:
    """Train in the folders that the leader tells, until there are no more."""
    while (message := world.told()) is not None:
        from .session import Session

        folder = RunFolder(path=Path(message["folder"]))
        training, validation = split(folder.manifest(), folder.fold)
        try:
            session = Session(folder, training, validation, began_s=time.monotonic(), budget_s=message["budget_s"])
            session.run()
        except UserError as error:
            raise SystemExit(2) from error  # the leader has the same, and says it
