"""Damage DICOM files by the thousand and read each: right, or refused in one line, quickly and in bounded memory.

A child process reads them, so that a crash, a hang or a swelling is seen; it writes a line before and after each file. Findings
are kept with the number that makes the same damage again: `fuzz_dicom.py --only NUMBER`.
"""

from __future__ import annotations

import argparse
import json
import resource
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]
SECONDS = 2.0  # a file, beyond its size
SECONDS_A_MB = 1.0
HANG_S = 30.0  # without a word from the child
ROOM_BYTES = 3 * 2**30  # address space of the child beyond what it has at the start
SWELL_BYTES = 200 * 2**20  # resident memory that one small file may add
say = partial(print, flush=True)
NAMES = {"tumour": 1, "node": 2}


@dataclass(slots=True)
class Summary:
    """What came out."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[int, str]] = field(default_factory=list)
    slowest_s: float = 0.0
    seconds: float = 0.0

    def lines(self) -> list[str]:
        total = sum(self.outcomes.values())
        counts = ", ".join(f"{count} {what}" for what, count in self.outcomes.most_common())
        return [
            f"{total} damaged files in {self.seconds:.0f} s: {counts}; slowest {self.slowest_s:.2f} s",
            f"{len(self.findings)} findings",
            *(f"  finding {number}: {what}" for number, what in self.findings),
        ]


def fuzz(*, files: int, seconds: float, start: int, keep: Path, shared: Path | None) -> Summary:
    """Reads damaged files until either limit; findings lie in `keep` afterwards."""
    from fuzz_seeds import write_seeds

    summary, number, begun = Summary(), start, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="unet_fuzz_") as work:
        write_seeds(Path(work), shared)
        while number < start + files and time.monotonic() - begun < seconds:
            number = _one_child(Path(work), number, start + files, begun + seconds, summary, keep)
    summary.seconds = time.monotonic() - begun
    return summary


def _one_child(work: Path, number: int, end: int, deadline: float, summary: Summary, keep: Path) -> int:
    """Reads until the child ends or the time is up. Returns: the next number."""
    command = [sys.executable, "-W", "error::RuntimeWarning", __file__, "--serve", str(work), str(number), str(end)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        current = number
        for line in _lines(child):
            if line is None:
                return _found(summary, current, f"hangs for more than {HANG_S:g} s", keep, work) + 1
            record = json.loads(line)
            current = record["number"]
            if "outcome" in record:
                summary.outcomes[record["outcome"]] += 1
                summary.slowest_s = max(summary.slowest_s, record["seconds"])
                if record["problem"]:
                    _found(summary, current, record["problem"], keep, work)
                if summary.outcomes.total() % 5000 == 0:
                    say(f"{summary.outcomes.total()} files, {len(summary.findings)} findings", file=sys.stderr)
                if time.monotonic() > deadline:
                    return current + 1
        code = child.wait()
        if code == 0:
            return end
        words = (child.stderr.read() if child.stderr else "").strip().splitlines()
        return _found(summary, current, f"the process died ({code}): {' | '.join(words[-3:])}", keep, work) + 1
    finally:
        child.kill()
        child.communicate()  # closes its pipes


def _lines(child: subprocess.Popen[str]) -> Iterator[str | None]:
    """Lines of the child; None where it says nothing for too long."""
    if child.stdout is None:
        return
    with selectors.DefaultSelector() as waiting:
        waiting.register(child.stdout, selectors.EVENT_READ)
        while True:
            if not waiting.select(HANG_S):
                yield None
                return
            line = child.stdout.readline()
            if not line:
                return
            yield line


def _found(summary: Summary, number: int, what: str, keep: Path, work: Path) -> int:
    summary.findings.append((number, what))
    summary.outcomes["found"] += what.startswith(("hangs", "the process"))
    keep.mkdir(parents=True, exist_ok=True)
    _, data, name = damaged(work, number)
    (keep / f"{number}_{name}").write_bytes(data)
    return number


def damaged(work: Path, number: int) -> tuple[str, bytes, str]:
    """(alone, among or labels, the damaged bytes, the seed's name) of a number."""
    from mutate import mutated

    seeds = [(kind, path) for kind in ("alone", "among", "labels") for path in sorted((work / kind).iterdir())]
    kind, path = seeds[number % len(seeds)]
    from fuzz_seeds import BROKEN

    whole = (path / str(BROKEN) if kind == "among" else path).read_bytes()
    return kind, mutated(whole, number), path.name


# --- in the child ---


def serve(work: Path, start: int, end: int) -> None:
    from pipeline.io.read import read_volume
    from pipeline.labels import label_table

    image, table = read_volume(work / "image"), label_table(NAMES)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_size_bytes() + ROOM_BYTES, hard))
    with tempfile.TemporaryDirectory(dir=work) as folder:
        for number in range(start, end):
            say(json.dumps({"number": number}))
            kind, data, name = damaged(work, number)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            path = _laid_out(Path(folder), work, kind, data, name)
            begun = time.perf_counter()
            outcome, problem, seconds = _read(kind, path, image, table, begun, work)
            seconds = time.perf_counter() - begun if seconds is None else seconds
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            allowed_s = SECONDS + SECONDS_A_MB * len(data) / 2**20
            if not problem and seconds > allowed_s:  # was it the file, or was the machine busy?
                begun = time.perf_counter()
                again = _read(kind, path, image, table, begun, work)[2]
                seconds = min(seconds, time.perf_counter() - begun if again is None else again)
            if not problem and seconds > allowed_s:
                problem = f"takes {seconds:.1f} s"
            if not problem and grown > SWELL_BYTES:
                problem = f"takes {grown / 2**20:.0f} MB"
            say(json.dumps({"number": number, "outcome": outcome, "seconds": seconds, "problem": problem}))


def _laid_out(folder: Path, work: Path, kind: str, data: bytes, name: str) -> Path:
    """Where the reader is pointed at."""
    if kind != "among":
        (folder / "one").write_bytes(data)
        return folder / "one"
    from fuzz_seeds import BROKEN

    series = folder / name
    if not series.is_dir():
        shutil.copytree(work / "among" / name, series)
    (series / str(BROKEN)).write_bytes(data)
    return series


def _read(kind, path, image, table, begun, work) -> tuple[str, str, float | None]:
    """(outcome, problem or '', seconds of the reader alone)."""
    from fuzz_oracle import Silent, Unjudged, wrong_labels, wrong_volume

    from pipeline.errors import UserError
    from pipeline.io.read import read_label_volume, read_volume

    try:
        if kind == "labels":
            result = read_label_volume(path, like=image, table=table)
        else:
            result = read_volume(path)
    except UserError as error:
        return "refused", "" if "\n" not in str(error) else f"more than one line: {error}", None
    except BaseException:
        return "found", " | ".join(line.strip() for line in traceback.format_exc().splitlines()[-5:]), None
    seconds = time.perf_counter() - begun
    try:
        if kind == "labels":
            wrong = wrong_labels(path, result, NAMES)
        else:
            whole = len(list((work / "among" / path.name).iterdir())) if kind == "among" else result.shape[2]
            wrong = wrong_volume(result) if result.shape[2] == whole else f"{result.shape[2]} slices instead of {whole}"
    except Unjudged:
        return "read, not judged", "", seconds
    except Silent as silence:
        return "read, not judged", f"read although pydicom cannot: {silence}", seconds
    except Exception:
        return "read, not judged", "oracle: " + " | ".join(traceback.format_exc().splitlines()[-5:]), seconds
    return ("read", f"wrong volume: {wrong}", seconds) if wrong else ("read right", "", seconds)


def _size_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--start", type=int, default=0, help="number of the first damage")
    parser.add_argument("--only", type=int, help="one number, with the whole traceback of what it brings")
    parser.add_argument("--keep", type=Path, default=Path("artifacts/fuzz"))
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        work, start, end = arguments.serve
        serve(Path(work), int(start), int(end))
        return 0
    start, files = (arguments.start, arguments.files) if arguments.only is None else (arguments.only, 1)
    shared = arguments.shared if arguments.shared.is_dir() else None
    summary = fuzz(files=files, seconds=arguments.seconds, start=start, keep=arguments.keep, shared=shared)
    say("\n".join(summary.lines()))
    return 1 if summary.findings else 0


if __name__ == "__main__":
    sys.exit(main())
