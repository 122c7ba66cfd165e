"""A minute of damaged DICOM files, always the same ones: `make fuzz` reads 100,000, from wherever it is told to start."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from fuzz_dicom import fuzz

SECONDS = 60.0
SHARED = Path(os.environ.get("UNET_SHARED", Path(__file__).resolve().parents[3] / "shared"))


def test_damaged_files_are_read_right_or_refused_quickly_and_in_bounded_memory(tmp_path: Path) -> None:
    shared = SHARED if SHARED.is_dir() else None
    summary = fuzz(files=10_000, seconds=SECONDS, start=0, keep=tmp_path / "findings", shared=shared)
    assert not summary.findings, "\n".join(summary.lines())
    assert sum(summary.outcomes.values()) > 200
    assert summary.outcomes["read right"] > 0 and summary.outcomes["refused"] > 0
