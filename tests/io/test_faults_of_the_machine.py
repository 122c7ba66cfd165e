"""No permission to read, no room to write: one line that names the place, and nothing half-written."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_series import noise, save, volume_datasets

from pipeline.errors import UserError
from pipeline.io.read import read_volume

NOBODY = 65534
ROOM_BYTES = 4096


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="unet_test_") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def not_root() -> Iterator[None]:
    """Nothing is forbidden to root: it becomes nobody for as long as the test reads."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def series(open_folder: Path) -> Path:
    folder = save(volume_datasets(noise(6)), open_folder / "s")
    assert read_volume(folder).shape[2] == 6  # and what it imports is there before nobody may read it
    return folder


@pytest.fixture
def locked(series: Path, request: pytest.FixtureRequest) -> Path:
    """The series with one file or folder that may not be read."""
    place = series / request.param
    if request.param == "more":
        place.mkdir()
    place.chmod(0)
    return series


@pytest.mark.parametrize("locked", ["003.dcm"], indirect=True)
def test_a_file_without_permission_is_named_with_the_hole_it_leaves(locked: Path, not_root: None) -> None:
    with pytest.raises(UserError, match=r"between 002.dcm and 004.dcm.*not read: 003.dcm \(unreadable \(Permission denied\)\)"):
        read_volume(locked)


@pytest.mark.parametrize("locked", ["006.dcm", "more"], indirect=True)
def test_what_may_hold_the_last_slices_is_named_beside_the_volume(locked: Path, not_root: None) -> None:
    notice = next(n for n in read_volume(locked).source.notices if n.code == "files-broken")
    assert "unreadable (Permission denied)" in notice.sentence


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = save(volume_datasets(noise(4, 32, 32)), tmp_path / "s")
    answer = subprocess.run(
        [sys.executable, "-m", "pipeline", "convert", folder, tmp_path / "out" / "a.nii"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, ROOM_BYTES)),
    )
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1 and "a.nii: cannot be written (File too large)" in answer.stderr
    assert not list((tmp_path / "out").iterdir())
