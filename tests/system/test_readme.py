"""The commands in README and guide are real: README's chain runs from top to bottom, every other line at least parses."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import nibabel
import numpy as np
import pytest
from made_trainings import TINY

from pipeline.cli.main import COMMANDS, Parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUICK = "--epochs 1 " + " ".join(
    f"--set {name}={str(value).replace(' ', '')}" for name, value in TINY.items() if name != "epochs"
)


def blocks(page: Path, language: str = r"\w*") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def typed(page: Path) -> list[str]:
    """The command lines of a page that a reader may type: `unet ...` and `make ...`, not outlines with [options]."""
    lines = [line.removeprefix("$ ").partition(" #")[0].rstrip() for block in blocks(page) for line in block.splitlines()]
    return [line for line in lines if re.match(r"(unet|make) ", line) and not re.search(r" \[--|\.\.\.", line)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with DATA (imagesTr, labelsTr) and SERIES, as README calls them."""
    folder = tmp_path_factory.mktemp("readme")
    affine = np.diag([1.0, 1.2, 4.0, 1.0])
    for number in range(5):
        random = np.random.default_rng(number)
        column, row, _ = np.indices((40, 36, 6))
        distance = np.hypot(column - 20, row - 18)
        label = (distance < 10).astype(np.uint8) + (distance < 5)
        image = (label * 100 + random.normal(0, 5, label.shape)).astype(np.float32)
        for kind, array in (("imagesTr", image), ("labelsTr", label)):
            (folder / "DATA" / kind).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, affine), folder / "DATA" / kind / f"case_{number}.nii.gz")
    shutil.copy(folder / "DATA" / "imagesTr" / "case_0.nii.gz", folder / "SERIES.nii.gz")
    return folder


def test_readme_runs_from_top_to_bottom(
    project: Path, unet: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    chain = [line for line in typed(ROOT / "README.md") if line.startswith("unet ")]
    assert [line.split()[1] for line in chain] == [
        "manifest",
        "check",
        "train",
        "evaluate",
        "bundle",
        "inspect",
        "predict",
        "ui",
    ]
    for line in chain[:-1]:  # the page is opened by a test of its own
        quick = line.replace("--time-budget 20m", QUICK).replace("SERIES", "SERIES.nii.gz")
        done = unet(*shlex.split(quick)[1:], cwd=project)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert nibabel.load(project / "predictions" / "SERIES" / "mask.nii.gz").shape == (40, 36, 6)
    assert (project / "mlruns" / "mlflow.db").exists()

    code = blocks(ROOT / "README.md", "python")[0].replace('"SERIES"', '"SERIES.nii.gz"')
    monkeypatch.chdir(project)
    said: list[dict[str, float]] = []
    exec(code, {"print": said.append})
    assert set(said[0]) == {"anterior", "posterior"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_the_page_parses(page: Path) -> None:
    for line in typed(page):
        words = shlex.split(line)
        if words[0] == "make":
            targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            assert words[1] in targets, line
            continue
        parser = Parser(prog=words[1])
        import_module(f"pipeline.cli.{words[1]}").add_arguments(parser)
        assert isinstance(parser.parse(words[2:]), argparse.Namespace), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    lost = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert lost == []


def test_every_command_has_its_place_in_the_guide() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"`unet {name}`" not in index] == []
    linked = set(re.findall(r"\]\((\w+\.md)\)", index))
    assert {page.name for page in PAGES[1:]} <= linked | {"index.md"}
