"""Processes that decode compressed frames: on all cores at once, and a decoder that crashes, hangs or swells takes only its
own process with it. A worker reads (file, frames) on its input and answers with arrays on its output."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...cores import usable_cores

MOST_WORKERS = 8
FRAMES_A_WORKER = 8  # from so many on, another process is started in less time than it saves
CPU_S = 2.0  # of one frame, beyond its size
CPU_S_PER_MB = 0.5  # decoded; JPEG 2000 takes 0.05
MEMORY_TIMES = 8  # of the decoded frame; JPEG 2000 works in 32 bits
MEMORY_MB = 512  # beyond that, and beyond the file
LENGTH = struct.Struct("<Q")


class Died(Exception):
    """The worker ended while it decoded."""


class Worker:
    """One child process. It ends when its input is closed, so also when this process dies."""

    def __init__(self) -> None:
        start = f"import sys; sys.path[:] = {sys.path!r}; from {__package__}.workers import serve; serve()"
        self.idle = True  # False while answers are on their way: they would be the next one's
        self._process = subprocess.Popen(
            [sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    @property
    def process_id(self) -> int:
        return self._process.pid

    def frames(self, file: Path, indices: list[int], frame_bytes: int, *, cpu_s: float = CPU_S) -> Iterator[np.ndarray | str]:
        """For each frame its stored values (rows, columns), or a sentence that says why there are none.

        Args:
            frame_bytes: of one decoded frame, by the file's header: what the worker may use follows from it.
            cpu_s: seconds of one core that a frame may take beyond its size.
        Raises: Died when the decoder crashed, took too long or wanted too much memory.
        """
        source, sink = self._process.stdout, self._process.stdin
        if source is None or sink is None:
            raise ValueError("the worker has pipes")
        self.idle = False
        try:
            _send(sink, {"file": str(file), "indices": indices, "frame_bytes": frame_bytes, "cpu_s": cpu_s})
            for left in reversed(range(len(indices))):
                answer = _receive(source)
                if "fault" in answer:
                    found: np.ndarray | str = answer["fault"]
                else:
                    found = np.empty(answer["shape"], dtype=answer["dtype"])
                    _fill(source, found)
                self.idle = left == 0
                yield found
        except (EOFError, BrokenPipeError) as error:
            raise Died(f"signal {-self._process.wait()}") from error

    def end(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what was still to be sent to a dead process
                    pipe.close()
        self._process.kill()
        self._process.wait()


class Workers:
    """Idle workers, started when they are needed and kept for the next series."""

    def __init__(self) -> None:
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()

    def prepare(self, frames: int) -> None:
        """Start as many as will be useful for so many frames, so that they are ready when the headers are read."""
        for _ in range(min(usable_workers(), max(frames // FRAMES_A_WORKER, 1)) - self._idle.qsize()):
            self._idle.put(Worker())

    def take(self) -> Worker:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return Worker()

    def give_back(self, worker: Worker) -> None:
        """Keep it for the next one, unless there are enough or it was left in the middle of its answers."""
        if worker.idle and self._idle.qsize() < usable_workers():
            self._idle.put(worker)
        else:
            worker.end()

    def end(self) -> None:
        while not self._idle.empty():
            self.take().end()


WORKERS = Workers()
atexit.register(WORKERS.end)


def usable_workers() -> int:
    """As many as this process may use cores."""
    return min(usable_cores(), MOST_WORKERS)


# --- in the child ---


def serve() -> None:
    """Answer requests until the input ends."""
    import pydicom.pixels  # noqa: F401 (before the first frame's time is counted)

    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the arrays
    while True:
        try:
            request = _receive(source)
        except EOFError:
            return
        _answer(sink, Path(request.pop("file")), **request)


def _answer(sink: IO[bytes], file: Path, *, indices: list[int], frame_bytes: int, cpu_s: float) -> None:
    from .decoder import OpenFile, Undecodable

    opened = None
    for index in indices:
        try:
            _limit(frame_bytes, file.stat().st_size, cpu_s)
            opened = opened or OpenFile(file)
            array = np.ascontiguousarray(opened.frame(index))
        except Undecodable as error:
            _send(sink, {"fault": str(error)})
        except OSError as error:
            _send(sink, {"fault": f"the file cannot be read any more ({error.strerror})"})
        except MemoryError:
            _send(sink, {"fault": "the decoder wanted more memory than such a frame can need"})
        else:
            _send(sink, {"shape": array.shape, "dtype": array.dtype.str})
            sink.write(array.data)
            sink.flush()


def _limit(frame_bytes: int, file_bytes: int, cpu_s: float) -> None:
    """CPU time and memory of the next frame; beyond it the process gets a signal or a MemoryError. Unix only."""
    try:
        import resource
        import signal
    except ImportError:
        return
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s + CPU_S_PER_MB * frame_bytes / 2**20)
    statm = Path("/proc/self/statm")
    if statm.exists():
        now = int(statm.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        most = now + MEMORY_TIMES * frame_bytes + 2 * file_bytes + MEMORY_MB * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


# --- both ends of the pipe ---


def _send(sink: IO[bytes], message: dict[str, Any]) -> None:
    packed = json.dumps(message).encode()
    sink.write(LENGTH.pack(len(packed)) + packed)
    sink.flush()


def _receive(source: IO[bytes]) -> dict[str, Any]:
    length = np.empty(LENGTH.size, dtype=np.uint8)
    _fill(source, length)
    packed = np.empty(LENGTH.unpack(length.tobytes())[0], dtype=np.uint8)
    _fill(source, packed)
    message: dict[str, Any] = json.loads(packed.tobytes())
    return message


def _fill(source: IO[bytes], array: np.ndarray) -> None:
    """Raises: EOFError when the other end is gone."""
    view = array.reshape(-1).view(np.uint8).data
    while len(view):
        count = source.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        view = view[count:]
