"""docs/dicom.md names every refusal that the DICOM reader can give, and what to do about it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import pipeline

READER = Path(pipeline.__file__).parent / "io" / "dicom"
GUIDE = READER.parents[2] / "docs" / "dicom.md"
REFUSALS = ("UserError", "Uneven", "Undecodable", "BrokenStream", "Damaged")
SHORTEST = 6  # letters of a fixed part of a message that are worth looking for


def refusals() -> list[object]:
    """Every place in the reader where a refusal is made: the fixed parts of what is said and of what is advised."""
    found = []
    for file in sorted(READER.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        constants = _assigned(tree.body)
        for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
            for call in (n for n in ast.walk(function) if isinstance(n, ast.Call)):
                if isinstance(call.func, ast.Name) and call.func.id in REFUSALS and call.args:
                    known = constants + _assigned(ast.walk(function))
                    advice = [k.value for k in call.keywords if k.arg == "next"]
                    parts = [p for value in (call.args[0], *advice) for p in _fixed_parts(value, known, call.lineno)]
                    found.append(pytest.param(parts, id=f"{file.name}:{call.lineno}"))
    return found


def _assigned(nodes) -> list[tuple[str, int, ast.expr]]:
    return [
        (node.targets[0].id, node.lineno, node.value)
        for node in nodes
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
    ]


def _fixed_parts(value: ast.expr, known: list[tuple[str, int, ast.expr]], line: int) -> list[str]:
    """The literal pieces of a text, those of the variables in it (as last assigned before the line) included."""
    if isinstance(value, ast.Constant):
        return [str(value.value)]
    if isinstance(value, ast.Name):
        assigned = [v for name, at, v in known if name == value.id and at < line]
        return _fixed_parts(assigned[-1], known, line) if assigned else []
    if isinstance(value, ast.JoinedStr):
        return [p for part in value.values for p in _fixed_parts(part, known, line)]
    if isinstance(value, ast.FormattedValue) and isinstance(value.value, ast.Name):
        inner = _fixed_parts(value.value, known, line)
        return inner if value.value.id.isupper() else []
    if isinstance(value, ast.IfExp):
        return [p for part in (value.body, value.orelse) for p in _fixed_parts(part, known, line)]
    return []


def test_a_refusal_says_what_to_do_next() -> None:
    silent = []
    for file in sorted(READER.glob("*.py")):
        for call in (n for n in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)):
            named = isinstance(call.func, ast.Name) and call.func.id in ("UserError", "Uneven")
            if named and "next" not in [k.arg for k in call.keywords]:
                silent.append(f"{file.name}:{call.lineno}")
    assert silent == []


def test_the_reader_has_refusals() -> None:
    assert len(refusals()) > 50


@pytest.mark.parametrize("parts", refusals())
def test_a_refusal_stands_in_the_guide(parts: list[str]) -> None:
    guide = " ".join(GUIDE.read_text(encoding="utf-8").replace("`", "").replace("\\|", "|").split())
    wanted = [" ".join(p.split()).strip(" ,;:()") for p in parts]
    missing = [p for p in wanted if len(re.sub(r"\W", "", p)) >= SHORTEST and p not in guide]
    assert not missing
