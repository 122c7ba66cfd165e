"""nnU-Net's 2-D configuration, with random weights, for `inference.py`; runs in nnU-Net's own environment:

python inference_nnunet.py prepare WORK IMAGE LABEL ORGANS    plans for this scan, builds the planned network, saves a model
python inference_nnunet.py predict WORK IMAGE OUT [--no-mirroring]
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

DATASET, TRAINER = "Dataset001_Made", "nnUNetTrainer"


def main() -> int:
    what, work, *rest = sys.argv[1:]
    folder = Path(work)
    for variable in ("raw", "preprocessed", "results"):
        (folder / variable).mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{variable}"] = str(folder / variable)
    os.environ.update(nnUNet_def_n_proc=str(len(os.sched_getaffinity(0))))  # also the most threads that its network gets
    if what == "prepare":
        prepare(folder, Path(rest[0]), Path(rest[1]), organs=int(rest[2]))
    else:
        predict(folder, rest[0], rest[1], mirroring="--no-mirroring" not in rest)
    return 0


def prepare(folder: Path, image: Path, label: Path, *, organs: int) -> None:
    import torch
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    raw = folder / "raw" / DATASET
    for part, source, name in (("imagesTr", image, "made_0000.nii.gz"), ("labelsTr", label, "made.nii.gz")):
        (raw / part).mkdir(parents=True)
        (raw / part / name).symlink_to(source.resolve())
    labels = {"background": 0, **{f"organ {number}": number for number in range(1, organs + 1)}}
    said = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(said))
    api.extract_fingerprint_dataset(1, num_processes=1, verbose=False, show_progress_bar=False)
    plans, _ = api.plan_experiment_dataset(1)
    manager = PlansManager(plans)
    configuration = manager.get_configuration("2d")
    torch.manual_seed(0)
    network = nnUNetTrainer.build_network_architecture(manager, configuration, 1, len(labels), enable_deep_supervision=False)
    model = folder / "model" / "fold_all"
    model.mkdir(parents=True)
    (model.parent / "plans.json").write_text(json.dumps(plans))
    (model.parent / "dataset.json").write_text(json.dumps(said))
    kept = {
        "trainer_name": TRAINER,
        "init_args": {"configuration": "2d"},
        "inference_allowed_mirroring_axes": (0, 1),
        "network_weights": network.state_dict(),
    }
    torch.save(kept, model / "checkpoint_final.pth")
    parameters = sum(p.numel() for p in network.parameters())
    print(f"nnU-Net plans patches of {configuration.patch_size} px, {parameters / 1e6:.1f} million weights")


def predict(folder: Path, image: str, out: str, *, mirroring: bool) -> None:
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    predictor = nnUNetPredictor(use_mirroring=mirroring, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder / "model"), ("all",))
    Path(out).mkdir(parents=True)
    predictor.predict_from_files_sequential([[image]], [str(Path(out) / "mask")])


if __name__ == "__main__":
    sys.exit(main())
