"""The sha256 of a file or of a folder of files. Knows nothing of what is in them."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Hexadecimal digest of a file's bytes; of a folder: of the lines "DIGEST  NAME" of its files, sorted by name.

    A folder's digest is what `sha256sum * | sha256sum` prints for one without sub-folders; the order of reading, times and
    owners do not matter. Hidden files are left out: file managers leave such behind.
    """
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    lines = [f"{sha256_of(file)}  {file.relative_to(path).as_posix()}\n" for file in files_below(path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def files_below(folder: Path) -> list[Path]:
    """All files in a folder and below, sorted; hidden ones and what lies in hidden folders left out."""
    found = (p for p in folder.rglob("*") if not any(part.startswith(".") for part in p.relative_to(folder).parts))
    return sorted((p for p in found if p.is_file()), key=lambda p: p.relative_to(folder).as_posix())
