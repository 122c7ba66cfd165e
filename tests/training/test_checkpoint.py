"""Checkpoints: whole or refused, whatever happens while they are written or to them afterwards."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from pipeline.errors import UserError
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint

STATE = {"epoch": 3, "best": 0.5, "network": {"weight": torch.arange(6.0)}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_checkpoint(STATE, tmp_path / "last.pt")
    return tmp_path / "last.pt"


def test_what_is_saved_comes_back(path):
    state = load_checkpoint(path)
    assert state["epoch"] == 3
    assert torch.equal(state["network"]["weight"], torch.arange(6.0))


def test_a_missing_one_is_said(tmp_path):
    with pytest.raises(UserError, match=r"last\.pt: there is no such checkpoint"):
        load_checkpoint(tmp_path / "last.pt")


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "flipped"])
def test_a_damaged_one_is_refused_in_one_line(path, damage):
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[0:4] = b"\0\0\0\0"
    path.write_bytes(
        {"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"no weights", "flipped": bytes(flipped)}[damage]
    )
    with pytest.raises(UserError, match=r"last\.pt: the checkpoint is damaged"):
        load_checkpoint(path)


def test_a_file_that_would_run_code_is_refused(path):
    torch.save({"network": Path("/")}, path)  # any class of Python's own
    with pytest.raises(UserError, match="the checkpoint is damaged"):
        load_checkpoint(path)


def test_a_file_of_something_else_is_refused(path):
    torch.save(torch.zeros(3), path)
    with pytest.raises(UserError, match="is not a checkpoint of this program"):
        load_checkpoint(path)


class Broken:
    """Saving it fails on the way, as a killed process would."""

    def __reduce__(self) -> str:
        raise KeyboardInterrupt


def test_the_old_one_stays_whole_when_saving_breaks_off(path):
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint({**STATE, "epoch": 4, "network": Broken()}, path)
    assert load_checkpoint(path)["epoch"] == 3
    assert [p.name for p in path.parent.iterdir()] == ["last.pt"]


def test_a_full_disk_is_one_line_and_the_old_one_stays(path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # writing more fails as on a full disk
    try:
        with pytest.raises(UserError, match=r"the checkpoint cannot be written \(.+\)\. Make room"):
            save_checkpoint({**STATE, "network": {"weight": torch.zeros(100_000)}}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert load_checkpoint(path)["epoch"] == 3
    assert [p.name for p in path.parent.iterdir()] == ["last.pt"]
