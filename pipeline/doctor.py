"""Look whether this machine and this folder are ready for work, each problem with its fix. Changes nothing."""

from __future__ import annotations

import contextlib
import platform
import shutil
import sqlite3
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import psutil

from .cores import usable_cores
from .errors import UserError
from .tracking.store import database_file, open_client, tracking_uri

Verdict = Literal["ok", "note", "problem"]

LITTLE_MEMORY_BYTES = 2_000_000_000  # training the demo takes 1.5 GB
SOME_MEMORY_BYTES = 4_000_000_000
LITTLE_DISK_BYTES = 1_000_000_000
SOME_DISK_BYTES = 10_000_000_000  # a run folder with its slice cache
SERVER_WAIT_S = 3.0
FOLDERS = ("bundles", "data_manifests", "mlruns")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. A "problem" stops the work, a "note" does not; both say what to type."""

    topic: str
    verdict: Verdict = "ok"
    value: str
    fix: str = ""


def examine(folder: Path) -> list[Finding]:
    """All findings, in the order in which they matter.

    Args:
        folder: where the user works: `bundles/`, `data_manifests/` and `mlruns/` are looked for there.
    """
    looks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _device,
        _memory,
        lambda: _disk(folder),
        lambda: _folders(folder),
        _tracking,
        _decoders,
        _browser,
    )
    return [finding for look in looks for finding in look()]


def _python() -> Iterator[Finding]:
    version = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < (3, 11):  # noqa: UP036  # someone may put the package on an old Python by hand
        yield Finding(topic="Python", verdict="problem", value=version, fix="Install Python 3.11 or newer, then: make test")
    else:
        yield Finding(topic="Python", value=version)


def _packages() -> Iterator[Finding]:
    try:
        wanted = [line.split("==") for line in metadata.requires("unet") or [] if "extra" not in line]
    except metadata.PackageNotFoundError:
        yield Finding(
            topic="packages",
            verdict="problem",
            value="unet itself is not installed, so its pins are not known",
            fix="pip install -c constraints.txt -e .",
        )
        return
    wrong = [(name, version, _installed(name)) for name, version in wanted if _installed(name) != version]
    for name, version, found in wrong:
        yield Finding(
            topic="packages",
            verdict="problem",
            value=f"{name} {found or 'is absent'}, {version} is pinned",
            fix=f"pip install {name}=={version}   (or all of them: make test)",
        )
    if not wrong:
        yield Finding(topic="packages", value=f"all {len(wanted)} as pinned")


def _installed(name: str) -> str:
    """The version without its build, "+cpu"; "" when absent."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return ""


def _device() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of it is missing
        yield Finding(
            topic="device", verdict="problem", value=f"torch cannot be loaded: {error}", fix="make clean, then make test"
        )
        return
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(number)
            yield Finding(topic="device", value=f"cuda:{number} {card.name}, {card.total_memory / 1e9:.0f} GB")
    elif torch.backends.mps.is_available():
        yield Finding(topic="device", value="mps (Apple GPU)")
    elif shutil.which("nvidia-smi"):
        cause = "this torch is a CPU build" if torch.version.cuda is None else "its driver does not fit this torch"
        yield Finding(
            topic="device",
            verdict="note",
            value=f"an NVIDIA card is there, but {cause}: the CPU is used",
            fix="docs/install.md, section GPU",
        )
    threads, cores = torch.get_num_threads(), usable_cores()
    features = ", ".join(_cpu_features()) or "no bfloat16"
    cpu = f"CPU, {threads} threads on {cores} cores ({features})"
    if threads > cores:
        fix = f"export OMP_NUM_THREADS={cores}"
        yield Finding(topic="device", verdict="note", value=f"{cpu}: more threads than cores are slow", fix=fix)
    else:
        yield Finding(topic="device", value=cpu)


def _cpu_features() -> list[str]:
    """What torch can use for bfloat16; empty where the system does not say."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return []
    return [
        name for flag, name in (("avx512_bf16", "AVX-512 bf16"), ("amx_bf16", "AMX bf16"), ("bf16", "bf16")) if flag in flags
    ]


def _memory() -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    value = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free"
    if memory.available < LITTLE_MEMORY_BYTES:
        yield Finding(topic="memory", verdict="problem", value=value, fix="Close other programs; a training needs 2 GB.")
    elif memory.available < SOME_MEMORY_BYTES:
        yield Finding(topic="memory", verdict="note", value=value, fix="Large scans may not fit; close other programs.")
    else:
        yield Finding(topic="memory", value=value)


def _disk(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    value = f"{free / 1e9:.1f} GB free in {folder}"
    if free < LITTLE_DISK_BYTES:
        yield Finding(topic="disk", verdict="problem", value=value, fix="Free some space; a run folder takes about 1 GB.")
    elif free < SOME_DISK_BYTES:
        yield Finding(topic="disk", verdict="note", value=value, fix="Enough for small data sets only.")
    else:
        yield Finding(topic="disk", value=value)


def _folders(folder: Path) -> Iterator[Finding]:
    shut = [folder / name for name in FOLDERS if not _writable(folder / name)]
    for path in shut:
        yield Finding(topic="folders", verdict="problem", value=f"{path} cannot be written", fix=f"sudo chown -R $USER {path}")
    if not shut:
        yield Finding(topic="folders", value=f"{', '.join(f'{name}/' for name in FOLDERS)} can be written in {folder}")


def _writable(path: Path) -> bool:
    """By trying: permissions do not tell of read-only disks and full quotas. An absent folder counts as its parent."""
    if path.exists() and not path.is_dir():
        return False
    try:
        with tempfile.TemporaryFile(dir=path if path.is_dir() else path.parent):
            return True
    except OSError:
        return False


def _tracking() -> Iterator[Finding]:
    try:
        uri = tracking_uri()
    except UserError as error:
        yield Finding(topic="MLflow", verdict="problem", value=str(error), fix="unset MLFLOW_TRACKING_URI")
        return
    if uri.startswith(("http://", "https://")):
        yield _server(uri)
    elif not uri.startswith("sqlite:///"):
        yield Finding(topic="MLflow", verdict="note", value=f"{uri} is not looked at", fix=f"mlflow db upgrade {uri}")
    elif not database_file(uri).exists():
        yield Finding(topic="MLflow", value=f"no runs yet; {database_file(uri)} will be made")
    else:
        yield _database(uri)


def _database(uri: str) -> Finding:
    file = database_file(uri)
    away = f"mv {file} {file}.damaged   (a new one is made; run folders and bundles stay whole)"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=2)) as database:
            tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        return Finding(topic="MLflow", verdict="problem", value=f"{file} cannot be read: {error}", fix=away)
    if not {"experiments", "runs", "metrics", "alembic_version"} <= tables:
        return Finding(topic="MLflow", verdict="problem", value=f"{file} is half made: tables are missing", fix=away)
    try:
        open_client(uri).search_experiments(max_results=1)
    except Exception as error:  # a database of another MLflow may fail in many ways; here each is only reported
        reason = " ".join(str(error).split())[:200]
        fix = f"mlflow db upgrade {uri}" if "upgrade" in reason else away
        return Finding(topic="MLflow", verdict="problem", value=f"{file} cannot be used: {reason}", fix=fix)
    return Finding(topic="MLflow", value=uri)


def _server(uri: str) -> Finding:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SERVER_WAIT_S):
            return Finding(topic="MLflow", value=f"{uri} answers")
    except (OSError, ValueError) as error:
        return Finding(
            topic="MLflow",
            verdict="note",
            value=f"{uri} does not answer ({error}); trainings keep their numbers until it does",
            fix="Start the server, or: unset MLFLOW_TRACKING_URI",
        )


def _decoders() -> Iterator[Finding]:
    from pydicom import uid
    from pydicom.pixels import get_decoder

    syntaxes = {
        "JPEG": uid.JPEGBaseline8Bit,
        "JPEG 12 bit": uid.JPEGExtended12Bit,
        "JPEG lossless": uid.JPEGLosslessSV1,
        "JPEG-LS": uid.JPEGLSLossless,
        "JPEG 2000": uid.JPEG2000Lossless,
        "HTJ2K": uid.HTJ2KLossless,
        "RLE": uid.RLELossless,
    }
    missing = [name for name, syntax in syntaxes.items() if not get_decoder(syntax).is_available]
    if missing:
        fix = "pip install -c constraints.txt python-gdcm pylibjpeg pylibjpeg-openjpeg pyjpegls"
        yield Finding(topic="DICOM", verdict="problem", value=f"no decoder for {', '.join(missing)}", fix=fix)
    else:
        yield Finding(topic="DICOM", value=f"uncompressed, {', '.join(syntaxes)} can be read")


def _browser() -> Iterator[Finding]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found:
        yield Finding(topic="browser", value=f"{found} (one test drives it)")
    else:
        yield Finding(topic="browser", verdict="note", value="no Chromium: one test is skipped", fix="apt-get install chromium")
