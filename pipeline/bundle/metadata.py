"""`configs/metadata.json`: MONAI's fields, and under "unet" what this project's predictor reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..network.decide import output_channels
from .recipe import Recipe


def metadata(name: str, version: str, recipe: Recipe, packages: Mapping[str, str], unet: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata as plain types.

    Args:
        packages: package → version that the bundle was built with; these suffice to run it.
        unet: format, network, recipe, hash of the weights.
    """
    table = recipe.table
    others = {p: v for p, v in packages.items() if p not in ("monai", "torch", "numpy")}
    channels = output_channels(len(table.structures), recipe.head)
    first = 0 if recipe.head == "sigmoid" else 1
    definition = {str(i): s.name for i, s in enumerate(table.structures, start=first)}
    return {
        "name": name,
        "version": version,
        "changelog": {version: "built by unet"},
        "monai_version": packages["monai"],
        "pytorch_version": packages["torch"],
        "numpy_version": packages["numpy"],
        "required_packages_version": others,
        "task": f"segmentation of {', '.join(table.names)}",
        "description": "Original U-Net (Ronneberger, Fischer and Brox, 2015), slice by slice",
        "authors": "see docs/README.md",
        "copyright": "see docs/README.md",
        "intended_use": "research; not a medical device",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": recipe.modality or "grey values",
                    "modality": recipe.modality or "unknown",
                    "num_channels": recipe.image_channels * (2 * recipe.preprocessing.neighbours + 1),
                    "spatial_shape": ["*", "*"],
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "scores",
                    "format": "segmentation",
                    "num_channels": channels,
                    "spatial_shape": ["*", "*"],
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": definition if first == 0 else {"0": "background", **definition},
                }
            },
        },
        "unet": dict(unet),
    }
