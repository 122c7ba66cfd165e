"""Keep pydicom's remarks about ill-formed values off the console: what matters is said by our own notices."""

from __future__ import annotations

import logging
import threading
import warnings


class _Quiet:
    """Counts who is inside, in whatever thread: the first one in silences, the last one out restores.

    `warnings.catch_warnings` alone restores the wrong filters when two threads overlap, and costs more than reading a value.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._logger_was_off = False

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            logger = logging.getLogger("pydicom")
            self._logger_was_off, logger.disabled = logger.disabled, True
            self._silence = warnings.catch_warnings()
            self._silence.__enter__()
            warnings.simplefilter("ignore")

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside:
                return
            self._silence.__exit__(None, None, None)
            logging.getLogger("pydicom").disabled = self._logger_was_off


_QUIET = _Quiet()


def quiet() -> _Quiet:
    """`with quiet():` around calls of pydicom."""
    return _QUIET
