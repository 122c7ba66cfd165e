"""Why the settings of an experiment are as they are: the comments of its file. Knows no plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def reasons_of(file: Path) -> dict[str, str]:
    """Dotted setting ("network.padding") → the comment behind its value; settings without one are left out.

    The inverse of the comments of `experiment_yaml`; a file that a person wrote is read alike.
    """
    import yaml

    text = file.read_text(encoding="utf-8")
    found: dict[str, str] = {}
    _collect(yaml.compose(text, Loader=yaml.SafeLoader), "", text, found)
    return found


def _collect(node: Any, prefix: str, text: str, found: dict[str, str]) -> None:
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if isinstance(value, yaml.MappingNode):
            _collect(value, f"{name}.", text, found)
            continue
        behind = text[value.end_mark.index :].partition("\n")[0].strip()
        if behind.startswith("#"):
            found[name] = behind.lstrip("# ")
