"""Unpack a zip of DICOM files safely for as long as it is read. Knows nothing of what the files hold."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ...errors import UserError

MOST_BYTES = 2**35  # 32 GiB unpacked: larger than any study, smaller than what fills a server
MOST_FILES = 200_000
PACK_AGAIN = "Pack the folder again, or give the folder itself."
MOST_DEPTH = 32  # folders inside one another
MOST_RATIO = 1032  # no deflate stream unpacks to more


@contextmanager
def _unpacked(archive: Path) -> Iterator[Path]:
    """A temporary folder with the files of a zip under their own names; it is removed afterwards.

    Raises: UserError for a damaged archive, one with a password, names that lead out of the folder or too deep, absurd sizes,
        or a disk that cannot hold it.
    """
    with tempfile.TemporaryDirectory(prefix="unet_") as folder:
        try:
            with zipfile.ZipFile(archive) as source:
                members = [m for m in source.infolist() if not m.is_dir()]
                _judge(members, archive)
                for member in members:
                    target = _inside(Path(folder), member.filename, archive)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with source.open(member) as packed, target.open("wb") as plain:
                        shutil.copyfileobj(packed, plain, 2**20)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise UserError(f"the archive cannot be unpacked ({error})", where=archive, next=PACK_AGAIN) from error
        except OSError as error:
            what = f"the archive cannot be unpacked into {folder} ({error.strerror})"
            raise UserError(what, where=archive, next="TMPDIR=FOLDER names another place for it.") from error
        yield Path(folder)


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """What was given; for a zip, a folder with its files that exists as long as the block."""
    if path.is_file() and zipfile.is_zipfile(path):
        with _unpacked(path) as folder:
            yield folder
    else:
        yield path


def _judge(members: list[zipfile.ZipInfo], archive: Path) -> None:
    if any(m.flag_bits & 0x1 for m in members):
        raise UserError("the archive is encrypted", where=archive, next="Unpack it with its password, and give the folder.")
    size, total = archive.stat().st_size, sum(m.file_size for m in members)
    if len(members) > MOST_FILES or total > MOST_BYTES or total > size * MOST_RATIO:
        what = f"the archive of {size} bytes claims {len(members)} files of {total} bytes together"
        raise UserError(what, where=archive, next="Give the folder itself.")


def _inside(folder: Path, name: str, archive: Path) -> Path:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0] == "/" or ":" in parts[0]:
        raise UserError(f"the archive holds the name '{name}', which leads out of its folder", where=archive, next=PACK_AGAIN)
    if len(parts) > MOST_DEPTH:
        what = f"the archive holds folders nested more than {MOST_DEPTH} deep"
        raise UserError(what, where=archive, next=PACK_AGAIN)
    return folder.joinpath(*parts)
