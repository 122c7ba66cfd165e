"""The pins stand in three files and are the same; each says what it is for; what is installed is what is pinned."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT = tomllib.loads(TEXT)["project"]
EXTRAS = [line for lines in PROJECT["optional-dependencies"].values() for line in lines if not line.startswith("unet[")]
DIRECT = [*PROJECT["dependencies"], *EXTRAS]


def plain(name: str) -> str:
    """PEP 503: names that pip takes for the same are the same."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines: list[str]) -> dict[str, str]:
    split = [line.split("==") for line in lines]
    assert all(len(parts) == 2 for parts in split), f"every line must be NAME==VERSION: {lines}"
    return {plain(name): version for name, version in split}


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return pins([line for line in lines if line and not line.startswith("#")])


def conda() -> list[str]:
    parts = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    return list(next(part["pip"] for part in parts if isinstance(part, dict)))


def test_constraints_hold_every_direct_pin() -> None:
    wanted = pins(DIRECT)
    assert {name: constraints().get(name) for name in wanted} == wanted


def test_conda_users_get_the_same_pins() -> None:
    assert [line for line in conda() if line.startswith("-")] == ["-c constraints.txt", "-e ."]
    assert pins([line for line in conda() if not line.startswith("-")]) == pins(DIRECT)


def test_conda_brings_a_python_that_the_project_takes() -> None:
    parts = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    assert "python=3.11" in parts and "pip" in parts
    assert PROJECT["requires-python"] == ">=3.11"


def test_what_is_installed_is_what_is_pinned() -> None:
    installed = {name: metadata.version(name).partition("+")[0] for name in pins(DIRECT)}
    assert installed == pins(DIRECT)


def test_everything_installed_is_constrained() -> None:
    """What comes along with the direct ones could change unseen; pip itself and its tools are not ours."""
    needed, waiting = set(), [*pins(DIRECT)]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # for another system or Python
        needed.add(name)
        waiting += [plain(re.split(r"[^\w.-]", line)[0]) for line in requirements if "extra ==" not in line]
    assert needed - constraints().keys() <= {"setuptools", "pip", "wheel"}


@pytest.mark.parametrize("pin", PROJECT["dependencies"])
def test_each_dependency_says_what_it_is_for(pin: str) -> None:
    line = next(line for line in TEXT.splitlines() if f'"{pin}"' in line)
    assert len(line.partition("#")[2].strip()) > 3


def test_licence_and_citation_agree_with_the_project() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    from pipeline import __version__

    assert citation["version"] == __version__
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_templates_travel_with_the_package() -> None:
    patterns = tomllib.loads(TEXT)["tool"]["setuptools"]["package-data"]["pipeline"]
    for folder in ("report", "bundle"):
        files = [path for path in (ROOT / "pipeline" / folder / "templates").glob("*") if path.is_file()]
        assert not files or f"{folder}/templates/*" in patterns
