"""Loading the writers' packages in the background does not disturb a process that ends before it is done."""

import os
import subprocess
import sys
from pathlib import Path

REFUSED_AT_ONCE = """
from dataclasses import replace
from pipeline.handout.formats import NIFTI, load_ahead

load_ahead([replace(NIFTI, packages=("loads_slowly",))])
raise SystemExit(2)
"""
LOADS_SLOWLY = """
import time
from pathlib import Path

time.sleep(1)
Path(__file__).with_name("loaded").touch()
"""


def test_a_process_that_ends_early_lets_a_library_load_to_its_end_and_keeps_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "loads_slowly.py").write_text(LOADS_SLOWLY)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    ended = subprocess.run(
        [sys.executable, "-c", REFUSED_AT_ONCE], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (2, "")
    assert (tmp_path / "loaded").exists(), "the process ended in the midst of loading"
