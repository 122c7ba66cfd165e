"""`import pipeline`: light, and the doors are there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_runs import make_run

import pipeline

DOORS = {
    "LabelTable",
    "OriginalUNet",
    "Prediction",
    "Predictor",
    "UserError",
    "Volume",
    "__version__",
    "build_bundle",
    "read_volume",
    "train",
}
HEAVY = ("torch", "numpy", "monai", "mlflow", "ignite", "pydicom", "nibabel", "SimpleITK", "scipy", "PIL")


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_it_loads_nothing_heavy() -> None:
    assert fresh(f"import sys, pipeline; print([name for name in {HEAVY} if name in sys.modules])") == "[]"


def test_exactly_these_doors_are_open() -> None:
    assert set(pipeline.__all__) == DOORS == set(dir(pipeline))
    for name in DOORS:
        assert getattr(pipeline, name) is not None


def test_small_doors_open_without_torch() -> None:
    assert fresh("import sys; from pipeline import UserError, LabelTable, Volume; print('torch' in sys.modules)") == "False"


def test_a_name_that_is_no_door_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'pipeline' has no attribute 'predict'"):
        pipeline.predict  # noqa: B018


def test_the_chain_of_the_documentation_runs(tmp_path: Path) -> None:
    from pipeline import Prediction, Predictor, Volume, build_bundle

    bundle = build_bundle(make_run(tmp_path / "run").path, tmp_path / "bundle")
    volume = Volume(array=np.zeros((20, 24, 3), np.int16), affine=np.diag([1.0, 1, 3, 1]))
    prediction = Predictor.from_bundle(bundle.path).predict(volume)
    assert isinstance(prediction, Prediction)
    assert prediction.labels.shape == (20, 24, 3)
