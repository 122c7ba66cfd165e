"""The same cohort on a Dask cluster of real processes, one of which is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_cohorts import masks_of, name_of, records_of, started, table_of, write_series

from pipeline.bundle.bundle import Bundle
from pipeline.cli.main import main

Cohort = Callable[..., tuple[int, str, str]]
WAIT_S = 120
SERIES = 6


@pytest.fixture
def cluster() -> Iterator[object]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, scheduler_kwargs={"dashboard": False}
    ) as made:
        yield made


def test_a_cluster_that_loses_a_worker_makes_what_one_process_makes(cluster: object, bundle: Bundle, tmp_path: Path) -> None:
    for number in range(SERIES):
        write_series(tmp_path / "in", number)
    out = tmp_path / "out"
    words = (bundle.path, tmp_path / "in", "--no-seg", "-o")
    process = started(*words, out, "--scheduler", cluster.scheduler_address)  # type: ignore[attr-defined]
    deadline = time.monotonic() + WAIT_S
    while not records_of(out):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)  # type: ignore[attr-defined]
    printed, complaints = process.communicate(timeout=WAIT_S)
    assert (process.returncode, printed.splitlines()[0]) == (0, f"{SERIES} of {SERIES} series done"), complaints
    assert main(["cohort", *map(str, words), str(tmp_path / "one")]) == 0
    assert masks_of(out) == masks_of(tmp_path / "one")
    assert list(table_of(out)) == [name_of(number) for number in range(SERIES)]
    assert len(records_of(out)) == SERIES and not list(out.glob(".*.part*"))


def test_no_scheduler_is_one_line(cohort: Cohort, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    write_series(tmp_path / "in", 1)
    code, _, err = cohort(tmp_path / "in", "-o", tmp_path / "out", "--scheduler", "no-such-kind://127.0.0.1:9")
    assert code == 2 and "no Dask scheduler answers" in err and len(err.splitlines()) == 1
    code, _, err = cohort(tmp_path / "in", "-o", tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9", "--workers", "2")
    assert code == 2 and "--workers" in err
