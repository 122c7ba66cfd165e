"""The guide names every option, code and key; its Python runs; the example manifest reads."""

from __future__ import annotations

import argparse
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from made_sets import write_pair

from pipeline.data.check_case import check_case
from pipeline.data.manifest import read_manifest
from pipeline.data.manifest_gate import CASE_KEYS, KEYS
from pipeline.data.synthetic import write_synthetic_ct
from pipeline.evaluation.table import CaseMasks

ROOT = Path(__file__).resolve().parents[2]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def python_of(text: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))


@pytest.mark.parametrize(
    ("command", "name"), [("manifest", "data.md"), ("check", "data.md"), ("evaluate", "scores.md"), ("augment", "augment.md")]
)
def test_every_option_stands_in_the_guide(command, name):
    parser = argparse.ArgumentParser()
    import_module(f"pipeline.cli.{command}").add_arguments(parser)
    options = [o for action in parser._actions for o in action.option_strings if o.startswith("--") and o != "--help"]
    missing = [o for o in options if o not in page(name) and o not in ("--out",)]
    assert not missing


def test_every_key_of_a_manifest_stands_in_the_guide():
    assert not [key for key in KEYS | CASE_KEYS if f"`{key}`" not in page("data.md")]


def test_every_problem_that_the_check_can_find_stands_in_the_guide():
    source = (ROOT / "pipeline/data/check.py").read_text() + (ROOT / "pipeline/data/check_case.py").read_text()
    codes = set(re.findall(r'code="([a-z-]+)"|\("(?:error|warning)", "([a-z-]+)"', source))
    names = {name for pair in codes for name in pair if name}
    assert len(names) > 10 and not [name for name in names if f"`{name}`" not in page("data.md")]


def test_the_python_of_the_data_page_runs(tmp_path, monkeypatch, capsys):
    for number in range(5):
        write_pair(tmp_path / "scans", f"p{number}", values=(1, 2))
    monkeypatch.chdir(tmp_path)
    exec(python_of(page("data.md")), {})
    assert capsys.readouterr().out == "True\n"
    assert (tmp_path / "data_manifests/liver.json").is_file()


def test_the_python_of_the_scores_page_runs(tmp_path, capsys):
    mask = np.zeros((4, 4, 4), np.uint8)
    mask[1:3, 1:3, 1:3] = 1
    exec(python_of(page("scores.md")), {"cases": [CaseMasks("a", "a", mask, mask, np.eye(4))], "folder": tmp_path})
    assert "liver" in capsys.readouterr().out and (tmp_path / "scores.csv").is_file()


def test_the_example_describes_the_demos_scans_on_every_machine(tmp_path):
    made = write_synthetic_ct(tmp_path / "data", patients=1, held_out=0)
    manifest = read_manifest(ROOT / "data_manifests/example.json", data_root=made.training)
    assert check_case(manifest, manifest.cases[0]).problems == ()
