"""unet: labelled CT and MR scans in, a tracked and packaged original U-Net out, DICOM series to mask.

The doors for Python. Each is loaded when it is first used, so `import pipeline` costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before any import of mlflow, and monai imports it

_DOORS = {
    "LabelTable": ".labels",
    "OriginalUNet": ".network.unet",
    "Prediction": ".inference.prediction",
    "Predictor": ".inference.predictor",
    "UserError": ".errors",
    "Volume": ".io.volume",
    "build_bundle": ".bundle.build",
    "read_volume": ".io.read",
    "train": ".training.train",
}

if TYPE_CHECKING:
    from .bundle.build import build_bundle as build_bundle
    from .errors import UserError as UserError
    from .inference.prediction import Prediction as Prediction
    from .inference.predictor import Predictor as Predictor
    from .io.read import read_volume as read_volume
    from .io.volume import Volume as Volume
    from .labels import LabelTable as LabelTable
    from .network.unet import OriginalUNet as OriginalUNet
    from .training.train import train as train

__all__ = ["__version__", *_DOORS]


def __getattr__(name: str) -> object:
    if name not in _DOORS:
        raise AttributeError(f"module 'pipeline' has no attribute '{name}'")
    return getattr(import_module(_DOORS[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
