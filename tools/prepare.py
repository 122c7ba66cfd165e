"""Make `.venv` ready: create it if absent, install what pyproject.toml names under constraints.txt, notice a changed pin.

Standard library only. The Makefile calls it before every target; when nothing has changed it takes less than 0.1 s.
Everything up to the version check runs, and everything below it can at least be parsed, on Python 3.6.
"""

import shutil
import subprocess
import sys

if sys.version_info < (3, 11):  # noqa: UP036
    newer = [shutil.which("python3.%d" % minor) for minor in (14, 13, 12, 11)]  # noqa: UP031
    working = [path for path in newer if path and subprocess.call([path, "-c", ""], stderr=subprocess.DEVNULL) == 0]
    sys.stderr.write(
        "set-up: Python %d.%d (%s) is too old, 3.11 or newer is needed. %sype: PYTHON=%s make %s\n"  # noqa: UP031
        % (
            sys.version_info[0],
            sys.version_info[1],
            sys.executable,
            "T" if working else "Install one (apt-get install python3.11 python3.11-venv), then t",
            working[0] if working else "python3.11",
            sys.argv[1] if len(sys.argv) > 1 else "test",
        )
    )
    sys.exit(2)

import argparse
import hashlib
import json
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DISK_BYTES = (
    6_000_000_000  # 2.4 GB of packages with a CPU build of torch, more with a CUDA build; as much again while unpacking
)
MEMORY_BYTES = 4_000_000_000  # less than this and the training of the demo is killed
STATE_FILE = ".unet-setup.json"
LOG_FILE = "setup.log"

# What pip writes → what it means and what helps; the first that occurs in the log counts.
CAUSES = (
    ("No space left on device", "the disk is full", "Free some space"),
    ("MemoryError|Killed", "there was too little memory", "Close other programs"),
    ("Permission denied", "a folder may not be written", "See the log for its name, change its owner"),
    (
        "NewConnectionError|NameResolution|Name or service not known|name resolution|Connection refused|timed out"
        "|ProxyError|SSLError|CERTIFICATE_VERIFY_FAILED|Network is unreachable",
        "the package index cannot be reached",
        "Check the network, or the proxy (HTTPS_PROXY) and pip's settings (pip config list)",
    ),
    ("No matching distribution found for ([^\n]+)", "there is no {0} for this Python and system", "Try PYTHON=python3.11"),
    (
        "ResolutionImpossible|conflicting dependencies",
        "the pins contradict each other",
        "Compare pyproject.toml and constraints.txt",
    ),
)


class Problem(Exception):
    """What is wrong, where, and what to type next, in one line."""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="?", default="test", help="the make target, for the advice in error messages")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder with pyproject.toml and constraints.txt")
    parser.add_argument("--chosen", action="store_true", help="the user chose this Python: a .venv of another is made anew")
    arguments = parser.parse_args(argv)
    try:
        prepare(arguments.root.resolve(), arguments.target, chosen=arguments.chosen)
    except Problem as problem:
        say(str(problem))
        return 2
    except KeyboardInterrupt:
        say(f"stopped. 'make {arguments.target}' starts again.")
        return 130
    return 0


def prepare(root: Path, target: str, *, chosen: bool) -> None:
    """Afterwards `.venv` holds exactly what the pins say. Raises: Problem."""
    venv = root / ".venv"
    python = venv / "bin" / "python"
    state = read_state(venv)
    if state.get("made") and (state.get("unfinished") or state.get("root") != str(root) or (chosen and other_python(state))):
        shutil.rmtree(venv)  # half installed, moved, or of another Python; one that the user has made is never removed
        state = {}
    if python.exists() and state.get("pins") == pins(root) and not state.get("unfinished"):
        return
    if not python.exists():
        refuse_small_machine(root, target)
        create(venv, target)
    install(root, venv, version_of(python, target), target)


def pins(root: Path) -> str:
    """What decides the environment's contents, as one number."""
    texts = [(root / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def read_state(venv: Path) -> dict:
    """What an earlier run noted; empty when there was none, e.g. in a .venv that the user has made."""
    try:
        return dict(json.loads((venv / STATE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def write_state(venv: Path, state: dict) -> None:
    aside = venv / (STATE_FILE + ".part")
    aside.write_text(json.dumps(state, indent=1), encoding="utf-8")
    aside.replace(venv / STATE_FILE)


def python_version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def other_python(state: dict) -> bool:
    return state.get("python", python_version()) != python_version()


def refuse_small_machine(root: Path, target: str, disk_bytes: int = DISK_BYTES, memory_bytes: int = MEMORY_BYTES) -> None:
    """Raises: Problem when the first install would not fit on the disk, or a training not into memory."""
    free = shutil.disk_usage(root).free
    if free < disk_bytes:
        raise Problem(
            f"{root}: {free / 1e9:.1f} GB of disk are free, the packages need {disk_bytes / 1e9:.0f} GB. "
            f"Free some space, then type: make {target}"
        )
    memory = memory_of_machine()
    if memory < memory_bytes:
        raise Problem(
            f"this machine has {memory / 1e9:.1f} GB of memory, {memory_bytes / 1e9:.0f} GB are needed. "
            f"Use a larger one (or give the container more), then type: make {target}"
        )


def memory_of_machine() -> int:
    """In bytes; a container's limit counts where there is one."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(path).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return total


def create(venv: Path, target: str) -> None:
    """An empty environment. Raises: Problem when this Python lacks the modules for that, as Debian's does."""
    try:
        import ensurepip  # noqa: F401
        import venv as _  # noqa: F401
    except ImportError:
        raise Problem(
            f"this Python ({sys.executable}) lacks the venv module. "
            f"Type: apt-get install python{python_version()}-venv (or python3-venv), then: make {target}"
        ) from None
    base = getattr(sys, "_base_executable", sys.executable)  # when run by the .venv's own Python: the one behind it
    say(f"making {venv} with Python {python_version()}")
    done = subprocess.run([base, "-m", "venv", "--clear", str(venv)], capture_output=True, text=True)
    if done.returncode != 0:
        shutil.rmtree(venv, ignore_errors=True)
        cause = ((done.stderr or done.stdout).strip().splitlines() or ["no reason given"])[-1]
        raise Problem(f"{venv} cannot be made: {cause}. Then type: make {target}")
    write_state(venv, {"made": True, "unfinished": True})


def version_of(python: Path, target: str) -> str:
    """The Python in `.venv`, e.g. "3.11". Raises: Problem when it is too old or does not run."""
    check = [str(python), "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
    done = subprocess.run(check, capture_output=True, text=True)
    version = done.stdout.strip()
    if done.returncode != 0 or tuple(map(int, version.split("."))) < (3, 11):
        held = f"holds Python {version}, 3.11 or newer is needed" if version else "holds no Python that runs"
        raise Problem(f"{python.parents[1]} {held}. Remove that folder, then type: make {target}")
    return version


def install(root: Path, venv: Path, version: str, target: str) -> None:
    """What pyproject.toml names, with the tools for development. Raises: Problem that names the cause from pip's log."""
    made, log = bool(read_state(venv).get("made")), venv / LOG_FILE
    say(f"installing the packages into {venv} (a few minutes the first time; all of pip's words are in {log})")
    write_state(venv, {"made": made, "python": version, "root": str(root), "unfinished": True})
    words = ["-m", "pip", "install", "--no-input", "--disable-pip-version-check", "-c", "constraints.txt", "-e", ".[dev]"]
    with log.open("w", encoding="utf-8") as out:
        code = run_pip([str(venv / "bin" / "python"), *words], root, out)
    if code != 0:
        text = log.read_text(encoding="utf-8", errors="replace")
        begun = "Installing collected packages" in text  # before that, nothing in the environment has changed
        write_state(venv, {"made": made, "python": version, "root": str(root), "unfinished": begun})
        raise Problem(f"{explain(text, log)}, then type: make {target}")
    write_state(venv, {"made": made, "python": version, "root": str(root), "pins": pins(root)})
    say("the packages are ready")


def run_pip(command: list[str], root: Path, out) -> int:
    """pip with its words in the log, and on a terminal the name of the package it is at."""
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    assert process.stdout is not None
    for line in process.stdout:
        out.write(line)
        found = re.match(r"\s*(Collecting|Downloading|Installing collected packages)[: ]*(.*)", line)
        if found and sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K  {found[1]} {found[2]}"[:78])
            sys.stderr.flush()
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    return process.wait()


def explain(log_text: str, log: Path) -> str:
    """The cause of a failed install in one line, with what helps."""
    for pattern, cause, advice in CAUSES:
        found = re.search(pattern, log_text)
        if found:
            return f"the install failed: {cause.format(*found.groups())} ({log}). {advice}"
    errors = [line for line in log_text.splitlines() if line.lower().lstrip().startswith("error")]
    last = (errors or log_text.strip().splitlines() or ["pip gave no reason"])[-1].strip()
    return f"the install failed: {last} ({log}). Read the end of that file"


def say(line: str) -> None:
    sys.stderr.write(f"set-up: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
