"""Several processes on one cohort, and what is left when they are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from made_cohorts import masks_of, name_of, records_of, save_nifti, started, table_of, write_series

from pipeline.bundle.bundle import Bundle
from pipeline.cli.main import main

WAIT_S = 120
MANY = 8


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for number in range(MANY):
        write_series(folder, number)
    return folder


@pytest.fixture(scope="module")
def unbroken(series: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The masks of a run that nobody disturbs."""
    out = tmp_path_factory.mktemp("unbroken")
    assert main(["cohort", str(bundle.path), str(series), "-o", str(out), "--no-seg"]) == 0
    assert set(masks_of(out)) == {name_of(number) for number in range(MANY)}
    return masks_of(out)


def until(what: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Returns when it is true; fails when the process ends before."""
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)


def kill(process: subprocess.Popen[str]) -> None:
    """With all that it has started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def visible(out: Path) -> set[str]:
    return {path.name for path in out.glob("[!.]*") if path.is_dir()}


def is_settled(out: Path) -> bool:
    """No lock, nothing half-written, each series recorded once."""
    return (
        not [*out.glob(".*.part*"), *(out / ".units").glob(".*"), *(out / ".units").glob("*.lock")]
        and len(records_of(out)) == MANY
    )


def test_killed_at_random_every_series_is_done_once_and_equal(
    series: Path, bundle: Bundle, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    random_moments, killed_at = random.Random(7), []
    for kill_number in range(3):
        process = started(bundle.path, series, "-o", tmp_path, "--no-seg", "--workers", "2" if kill_number % 2 else "1")
        goal = min(MANY - 1, len(masks_of(tmp_path)) + 1)
        until(lambda goal=goal: len(masks_of(tmp_path)) >= goal, process)
        time.sleep(random_moments.uniform(0, 0.15))
        kill(process)
        killed_at.append(len(masks_of(tmp_path)))
        whole = {name: unbroken[name] for name in visible(tmp_path)}
        assert masks_of(tmp_path) == whole  # whatever has a name is whole
    before = {path: path.stat().st_ino for path in tmp_path.glob("[!.]*/mask.nii.gz")}
    recorded = {str(record["folder"]) for record in records_of(tmp_path) if record["state"] == "done"}
    assert main(["cohort", str(bundle.path), str(series), "-o", str(tmp_path), "--no-seg"]) == 0
    assert masks_of(tmp_path) == unbroken and is_settled(tmp_path)
    assert all(path.stat().st_ino == inode for path, inode in before.items() if path.parent.name in recorded)
    assert {row["state"] for row in table_of(tmp_path).values()} == {"done"}
    assert killed_at[0] < MANY


def test_a_claim_left_on_what_is_done_is_removed(series: Path, bundle: Bundle, tmp_path: Path) -> None:
    """By a process that was killed when it had recorded the series, and not yet given it back."""
    words = ["cohort", str(bundle.path), str(series), "-o", str(tmp_path), "--no-seg"]
    assert main(words) == 0
    before = {path: path.stat().st_ino for path in tmp_path.glob("[!.]*/mask.nii.gz")}
    (tmp_path / ".units" / f"{records_of(tmp_path)[0]['unit']}.lock").touch()
    assert not is_settled(tmp_path)
    assert main(words) == 0
    assert is_settled(tmp_path)
    assert {path: path.stat().st_ino for path in before} == before


def test_two_calls_at_once_share_the_series(series: Path, bundle: Bundle, unbroken: dict[str, bytes], tmp_path: Path) -> None:
    both = [started(bundle.path, series, "-o", tmp_path, "--no-seg") for _ in range(2)]
    said = [process.communicate(timeout=WAIT_S) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert masks_of(tmp_path) == unbroken and is_settled(tmp_path)
    assert {record["attempts"] for record in records_of(tmp_path)} == {1}  # nobody did what the other did
    assert len(table_of(tmp_path)) == MANY


def test_a_worker_that_is_killed_is_replaced_and_its_series_named(series: Path, bundle: Bundle, tmp_path: Path) -> None:
    large = save_nifti(tmp_path / "in" / "a_large.nii.gz", np.zeros((256, 256, 200), np.int16))
    for number in range(3):
        write_series(tmp_path / "in", number)
    out = tmp_path / "out"
    process = started(bundle.path, tmp_path / "in", "-o", out, "--no-seg", "--workers", "2")
    until(lambda: [r for r in records_of(out) if (r["folder"], r["state"]) == ("a_large", "begun")], process)
    holder = next(pid for pid in children_of(process.pid) if holds(pid, out))
    os.kill(holder, signal.SIGKILL)
    printed, complaints = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2 and printed.startswith("3 of 4 series done, 1 failed\n"), complaints
    assert complaints == "unet: a_large: the process that segmented it was killed (out of memory?)\n"
    assert visible(out) == {name_of(number) for number in range(3)} and large.exists()
    assert not list(out.glob(".*.part*"))


def test_a_stopped_cohort_says_how_to_go_on(series: Path, bundle: Bundle, unbroken: dict[str, bytes], tmp_path: Path) -> None:
    process = started(bundle.path, series, "-o", tmp_path, "--no-seg", "--workers", "2")
    until(lambda: masks_of(tmp_path), process)
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130 and "the same command goes on with the rest" in complaints
    assert not list(tmp_path.glob(".*.part*")) and not list((tmp_path / ".units").glob("*.lock"))
    assert (tmp_path / "cohort.csv").exists()
    assert main(["cohort", str(bundle.path), str(series), "-o", str(tmp_path), "--no-seg"]) == 0
    assert masks_of(tmp_path) == unbroken


def children_of(pid: int) -> Iterator[int]:
    import psutil

    yield from (child.pid for child in psutil.Process(pid).children(recursive=True))


def holds(pid: int, out: Path) -> bool:
    """Whether the process has the claim on the series that has begun."""
    key = next(str(r["unit"]) for r in records_of(out) if r["folder"] == "a_large")
    try:
        return any(link.name == f"{key}.lock" for fd in Path(f"/proc/{pid}/fd").iterdir() if (link := fd.resolve()))
    except OSError:
        return False
