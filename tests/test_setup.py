"""`make` on machines where something is missing: one line, exit code 2, and the next run recovers.

A small project with its own build backend stands in for this one, so that pip needs no index and a test no minutes.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
PREPARE = ROOT / "tools" / "prepare.py"

BACKEND = """
import pathlib, zipfile
def get_requires_for_build_editable(config_settings=None): return []
def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "toy-1.0-py3-none-any.whl"
    needed = "".join(f"Requires-Dist: {line}\\n" for line in pathlib.Path("needed.txt").read_text().split())
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        wheel.writestr("toy.py", "")
        about = "Metadata-Version: 2.1\\nName: toy\\nVersion: 1.0\\nProvides-Extra: dev\\n"
        wheel.writestr("toy-1.0.dist-info/METADATA", about + needed)
        wheel.writestr("toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("toy-1.0.dist-info/RECORD", "")
    return name
"""
PYPROJECT = (
    '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n[project]\nname = "toy"\nversion = "1.0"\n'
)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    folder = tmp_path / "toy project"
    folder.mkdir()
    (folder / "backend.py").write_text(BACKEND)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "constraints.txt").write_text("")
    (folder / "needed.txt").write_text("")
    return folder


def prepare(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PIP_NO_INDEX": "1", **more}
    command = [sys.executable, str(PREPARE), "demo", "--root", str(folder), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def state(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / ".venv" / ".unet-setup.json").read_text()))


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare", PREPARE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_second_run_reuses_the_environment_and_a_changed_pin_is_noticed(toy: Path) -> None:
    first = prepare(toy)
    assert first.returncode == 0, first.stderr
    assert subprocess.run([toy / ".venv" / "bin" / "python", "-c", "import toy"], check=False).returncode == 0
    started = time.monotonic()
    second = prepare(toy)
    assert (second.returncode, second.stderr) == (0, "") and time.monotonic() - started < 2
    (toy / "constraints.txt").write_text("something==2.0\n")
    third = prepare(toy)
    assert third.returncode == 0 and "installing" in third.stderr and "making" not in third.stderr


def test_failed_install_names_its_cause_and_the_next_run_recovers(toy: Path) -> None:
    (toy / "needed.txt").write_text("no-such-package==7.1")
    failed = prepare(toy)
    last = failed.stderr.strip().splitlines()[-1]
    assert failed.returncode == 2
    assert "no-such-package==7.1" in last and "setup.log" in last and last.endswith("type: make demo")
    (toy / "needed.txt").write_text("")
    assert prepare(toy).returncode == 0


@pytest.mark.parametrize("left", [{"unfinished": True}, {"root": "/where/it/was/before"}])
def test_environment_of_a_killed_install_or_a_moved_project_is_made_anew(toy: Path, left: dict[str, object]) -> None:
    venv = toy / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    good = {"made": True, "pins": script().pins(toy), "root": str(toy)}
    (venv / ".unet-setup.json").write_text(json.dumps({**good, **left}))
    (venv / "half-installed").touch()
    again = prepare(toy)
    assert again.returncode == 0 and "making" in again.stderr
    assert not (venv / "half-installed").exists()
    assert state(toy)["root"] == str(toy) and "unfinished" not in state(toy)


def test_environment_that_the_user_made_is_used_and_never_removed(toy: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", toy / ".venv"], check=True)
    (toy / ".venv" / "mine").touch()
    (toy / "needed.txt").write_text("no-such-package")
    assert prepare(toy).returncode == 2
    (toy / "needed.txt").write_text("")
    assert prepare(toy, "--chosen").returncode == 0
    assert (toy / ".venv" / "mine").exists()


def test_missing_venv_module_is_one_line(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "ensurepip.py").write_text("raise ImportError('Debian leaves it out')")
    done = prepare(toy, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2 and not (toy / ".venv").exists()
    assert done.stderr.count("\n") == 1 and "-venv" in done.stderr and "make demo" in done.stderr


@pytest.mark.parametrize("version", [(3, 6, 9), (3, 9, 18), (3, 10, 13)])
def test_old_python_is_one_line(version: tuple[int, int, int]) -> None:
    pretend = f"import sys, runpy; sys.version_info = {version}; sys.argv[1:] = ['test']; runpy.run_path({str(PREPARE)!r})"
    done = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"Python {version[0]}.{version[1]} " in done.stderr and "make test" in done.stderr


def test_old_pythons_on_this_machine_say_so_themselves() -> None:
    old = [path for minor in (6, 7, 8, 9, 10) if (path := shutil.which(f"python3.{minor}"))]
    working = [path for path in old if subprocess.run([path, "-c", ""], capture_output=True).returncode == 0]
    if not working:
        pytest.skip("no Python older than 3.11 on this machine")
    for python in working:
        done = subprocess.run([python, str(PREPARE), "test"], capture_output=True, text=True)
        assert done.returncode == 2 and "too old" in done.stderr


def test_little_disk_and_little_memory_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    module = script()
    with pytest.raises(module.Problem, match="GB of disk are free"):
        module.refuse_small_machine(tmp_path, "demo", disk_bytes=10**18, memory_bytes=0)
    with pytest.raises(module.Problem, match="GB of memory"):
        module.refuse_small_machine(tmp_path, "demo", disk_bytes=0, memory_bytes=10**18)
    module.refuse_small_machine(tmp_path, "demo", disk_bytes=0, memory_bytes=0)


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        (
            "WARNING: Retrying ... NewConnectionError('...: Name or service not known')\nERROR: No matching distribution",
            "index",
        ),
        ("ERROR: No matching distribution found for torch==9.9", r"no torch==9\.9"),
        ("ERROR: ResolutionImpossible: for help visit", "contradict"),
        ("something\nerror: subprocess-exited-with-error\n", "subprocess-exited-with-error"),
        ("", "no reason"),
    ],
)
def test_cause_is_read_from_the_log(log: str, words: str) -> None:
    assert re.search(words, script().explain(log, Path("setup.log")))


def make(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "MAKEFLAGS", "MAKELEVEL")}
    return subprocess.run(["make", *words], cwd=ROOT, env={**environment, **more}, capture_output=True, text=True)


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make here")
def test_help_lists_every_target() -> None:
    phony = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    listed = [line.split()[0] for line in make("help").stdout.splitlines()[1:]]
    assert sorted(listed) == sorted(phony.split()[1:])
    assert make().stdout == make("help").stdout


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make here")
def test_absent_python_is_one_clear_line() -> None:
    done = make("test", PYTHON="python-that-is-not-there")
    assert done.returncode == 2
    assert "set-up: there is no python-that-is-not-there" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make here")
@pytest.mark.parametrize("target", ["demo", "test", "check"])
def test_every_target_prepares_the_environment_first(target: str) -> None:
    commands = [line for line in make("-n", target).stdout.splitlines() if "command -v" not in line]
    assert f"tools/prepare.py {target}" in commands[0]
    assert "--chosen" in make("-n", target, "PYTHON=python3.12").stdout
