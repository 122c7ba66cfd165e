"""`configs/inference.json`: what `python -m monai.bundle run` executes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .recipe import Recipe

RUNTIME = "unet_runtime"  # the package inside the bundle; `scripts` would be hidden by a folder of that name where it is run


def inference_config(network: str, network_settings: Mapping[str, Any], recipe: Recipe, members: int = 1) -> dict[str, Any]:
    """The configuration, with the recipe written out: it needs no other file but the weights.

    Args:
        network: its name in the catalogue.
        network_settings: its arguments.
        members: so many of these networks answer together.
    Source: MONAI bundle specification; overrides on the command line: --dataset_dir, --output_dir, --device.
    """
    transforms = f"{RUNTIME}.inference.monai_transforms"
    built: dict[str, Any] = {"_target_": f"{RUNTIME}.network.catalogue.build_network"}
    if members > 1:
        built = {"_target_": f"{RUNTIME}.network.ensemble.build_ensemble", "members": members, "head": recipe.head}
    return {
        "imports": ["$import pathlib", "$import torch", f"$import {RUNTIME}", f"$from {transforms} import items"],
        # where the runtime lies: a "." would be the folder in which MONAI is called
        "bundle_root": f"$str(pathlib.Path({RUNTIME}.__file__).parents[1])",
        "dataset_dir": "$@bundle_root + '/input'",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "recipe": recipe.to_json(),
        "datalist": "$items(@dataset_dir)",
        "network_def": {
            "_target_": f"{RUNTIME}.network.tiling.WholeSlice",
            "network": {**built, "name": network, "settings": dict(network_settings)},
        },
        "network": "$@network_def.to(device=@device, memory_format=torch.channels_last)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "LoadImaged",
                    "keys": "image",
                    "reader": {"_target_": f"{RUNTIME}.io.monai_reader.VolumeReader"},
                    "ensure_channel_first": True,
                    "dtype": None,  # as stored: 32 bits of float do not hold every whole number
                },
                {"_target_": f"{transforms}.ToSlicesd", "keys": "image", "recipe": "@recipe"},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        # the network mirrors and tiles by itself, so each slice goes in whole
        "inferer": {"_target_": "SliceInferer", "roi_size": [-1, -1], "spatial_dim": 2, "sw_batch_size": 1},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": f"{transforms}.ToLabelsd", "keys": "pred", "recipe": "@recipe"},
                {"_target_": f"{transforms}.WriteMaskd", "keys": "pred", "recipe": "@recipe", "output_dir": "@output_dir"},
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "$@network.network"},
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }
