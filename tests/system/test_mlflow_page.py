"""MLflow's page in a real browser: a run that was logged is seen there, curves and picture."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.io.volume import Volume
from pipeline.labels import label_table
from pipeline.report.overlay import mosaic
from pipeline.tracking.tracker import open_tracker

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts"
READY_S = 90
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
Unet = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def logged(project: Path) -> str:
    """MLflow's id of a run with curves and the overlay of a ball of liver."""
    i, j, k = np.indices((60, 60, 12))
    ball = (i - 30) ** 2 + (j - 28) ** 2 + (4 * (k - 6)) ** 2 < 400
    noise = np.random.default_rng(0).normal(0, 10, ball.shape)
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    scan = Volume(array=(ball * 60 + noise).astype(np.float32), affine=affine, modality="CT")
    labels = Volume(array=ball.astype(np.uint8), affine=affine)
    picture = project / "worst.png"
    mosaic(scan, labels, label_table({"liver": 1}), title="worst case").save(picture)
    with open_tracker(
        project / "run", experiment="unet", run_name="fold 0", training_key="k", training_name="liver"
    ) as tracker:
        for epoch in range(5):
            tracker.log_epoch(
                epoch, {"val/dice/liver": 0.5 + epoch / 10, "train/loss": 1.0 / (epoch + 1), "learning_rate": 0.01}
            )
        tracker.log_file(picture, "pictures")
    return tracker.run_id


@pytest.fixture
def address(logged: str, project: Path) -> Iterator[str]:
    """`unet ui`, as a user starts it and ends it."""
    log = (project / "words.txt").open("w+")
    command = [sys.executable, "-m", "pipeline", "ui"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=project)
    assert process.stdout is not None
    line = process.stdout.readline()  # comes when the page is ready
    try:
        found = re.search(r"http://127\.0\.0\.1:(\d+)\S*", line)
        assert found, (project / "words.txt").read_text()
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        process.stdout.close()
        log.close()
    assert "Traceback" not in (project / "words.txt").read_text()
    port = int(found[1])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0  # nobody is left behind


def test_a_run_is_seen_in_the_browser(address: str, logged: str) -> None:
    chromium = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    from playwright.sync_api import expect, sync_playwright

    ARTIFACTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.set_default_timeout(45_000)
        expect.set_options(timeout=45_000)
        page.goto(address)
        page.locator("[role=row]", has_text="liver").locator("[col-id*='Run Name'] button").first.click()  # its folds
        page.get_by_role("link", name="fold 0").first.click()
        expect(page).to_have_url(re.compile(logged))
        for name in ("val/dice/liver", "train/loss", "learning_rate"):
            expect(page.get_by_role("link", name=name, exact=True).first).to_be_visible()
        page.get_by_role("tab", name="Model metrics").click()
        expect(page.get_by_text("fold 0 (val/dice/liver)").first).to_be_visible()
        page.screenshot(path=ARTIFACTS / "mlflow_curves.png")
        page.get_by_role("tab", name="Artifacts").click()
        page.get_by_text("pictures", exact=True).first.click()
        page.get_by_text("worst.png", exact=True).first.click()
        picture = page.locator("img[src*='worst.png'], img[src^='blob:']").first
        expect(picture).to_be_visible()
        page.wait_for_function("image => image.complete && image.naturalWidth > 300", arg=picture.element_handle())
        page.screenshot(path=ARTIFACTS / "mlflow_page.png")
        browser.close()


def test_page_without_runs_says_how_to_make_one(unet: Unet, project: Path) -> None:
    done = unet("ui")
    assert done.returncode == 2
    assert "there are no runs yet" in done.stderr and "unet train" in done.stderr


def test_taken_port_is_one_line(unet: Unet, project: Path) -> None:
    (project / "mlruns").mkdir()
    (project / "mlruns" / "mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = unet("ui", "--port", taken.getsockname()[1])
    assert done.returncode == 2 and "is taken" in done.stderr.splitlines()[-1]


def test_page_that_cannot_start_says_why_and_leaves_nobody_behind(unet: Unet, project: Path) -> None:
    (project / "mlruns").mkdir()
    (project / "mlruns" / "mlflow.db").write_bytes(b"not a database" * 100)
    started = time.monotonic()
    done = unet("ui")
    assert done.returncode == 2 and time.monotonic() - started < READY_S
    assert "did not start" in done.stderr and "Traceback" not in done.stderr


def test_server_of_someone_else_is_named_and_not_started(unet: Unet, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
    done = unet("ui")
    assert done.returncode == 0 and done.stdout == "MLflow: http://mlflow.example:5000\n"
    assert list(project.iterdir()) == []
