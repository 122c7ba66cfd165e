"""A bundle whose masks are known, and the command with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from made_runs import thresholding_bundle

from pipeline.bundle.bundle import Bundle
from pipeline.cli.main import main


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Structure "organ" is where the image exceeds 1000."""
    return thresholding_bundle(tmp_path_factory.mktemp("made"), at=1000.0, modality="CT")


@pytest.fixture
def cohort(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`unet cohort BUNDLE WORDS...`: exit code, what it prints, what it complains of."""

    def run(*words: object) -> tuple[int, str, str]:
        code = main(["cohort", str(bundle.path), *map(str, words)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run
