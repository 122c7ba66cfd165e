"""What a comparison leaves in files: numbers as JSON, a page, a picture. Each is whole or not there."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..evaluation.compare import COMPARED, Comparison
from ..evaluation.compare_text import EXPLANATION, conclusions, head, rows_of, title_of, worst_changes
from ..io.paths import file_aside, write_text
from .differences import draw_differences
from .page import Page

MOST_STRIPS = 120  # of a PNG: 7000 units high, half a gigabyte while it is drawn; the page's picture has no limit


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonFiles:
    """Where the results go; None: not wanted."""

    numbers: Path | None = None
    page: Path | None = None
    picture: Path | None = None

    def wanted(self) -> list[Path]:
        return [path for path in (self.numbers, self.page, self.picture) if path is not None]

    def check(self, inputs: Iterable[Path], *, overwrite: bool) -> None:
        """Before any work. Raises: UserError with all that is wrong: endings, one name twice, a file that is there already.

        Args:
            inputs: files that are compared; these are never replaced.
            overwrite: other files may be.
        """
        problems = []
        for path, ending in ((self.numbers, ".json"), (self.page, ".html"), (self.picture, ".png")):
            if path is not None and path.suffix.lower() != ending:
                problems.append(f"'{path}' does not end in {ending}")
        places = [path.resolve() for path in self.wanted()]
        problems += [f"{path} is named twice" for path in sorted({p for p in places if places.count(p) > 1})]
        read = {path.resolve() for path in inputs}
        for path in self.wanted():
            if path.is_dir() or path.resolve() in read:
                problems.append(f"{path} is {'a folder' if path.is_dir() else 'one of the files that are compared'}")
            elif path.exists() and not overwrite:
                problems.append(f"{path} is there already (--overwrite replaces it)")
        if problems:
            raise UserError("; ".join(problems), next="Choose other names for the results.")

    def write(self, comparison: Comparison) -> list[Path]:
        """Write what is wanted. Returns: the paths.

        Raises: UserError where a place takes no file, or the picture would be too high.
        """
        strips = len(comparison.of("dice"))
        if self.picture is not None and strips > MOST_STRIPS:
            what = f"a picture of {strips} strips (structures times runs) cannot be looked at; {MOST_STRIPS} is the limit"
            raise UserError(what, where="--picture", next="Compare fewer runs at once, or take the page: -o PAGE.html.")
        writers = ((self.numbers, _write_numbers), (self.page, _write_page), (self.picture, _write_picture))
        for path, write in writers:
            try:
                if path is not None:
                    write(comparison, path)
            except OSError as error:
                what = f"cannot be written ({error.strerror or error})"
                raise UserError(what, where=path, next="Choose another place for it, or make room.") from error
        return self.wanted()


def comparison_page(comparison: Comparison) -> Page:
    """The page: conclusions first, then what they rest on."""
    page = Page("Comparison of runs", f"{len(comparison.cases)} cases of {comparison.patients} patients")
    page.text("\n\n".join(head(comparison).splitlines()))
    for notice in comparison.notices:
        page.notice(str(notice))
    page.text("\n\n".join(conclusions(comparison)), heading="What the numbers show, and what not")
    page.drawing("Differences of Dice, case by case", draw_differences(comparison), "a dot a case, in a strip a structure")
    first = 2 if len(comparison.runs) == 2 else 1  # the measure stands in the caption; of two runs, no row need say which
    for measure in COMPARED:
        columns, *rows = rows_of(comparison, (measure,))
        if rows:
            page.table(columns[first:], [row[first:] for row in rows], title_of(measure))
    page.text(EXPLANATION)
    worst = worst_changes(comparison)
    if worst:
        page.text("\n\n".join(worst), heading="The greatest losses of Dice against A")
    page.commands([f"unet compare {shlex.join(comparison.runs.values())}"])
    return page


def _write_numbers(comparison: Comparison, path: Path) -> None:
    write_text(path, json.dumps(comparison.to_json(), indent=1, ensure_ascii=False) + "\n")


def _write_page(comparison: Comparison, path: Path) -> None:
    comparison_page(comparison).write(path)


def _write_picture(comparison: Comparison, path: Path) -> None:
    with file_aside(path) as aside:
        draw_differences(comparison).picture().save(aside, "PNG", optimize=True)
