"""The path that MONAI's tutorials show, with the network of a bundle, for `inference.py`:  BUNDLE SERIES OUT"""

from __future__ import annotations

import sys

import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from monai.transforms import Compose, EnsureChannelFirst, LoadImage, SaveImage, ScaleIntensityRange

from pipeline.bundle.bundle import open_bundle
from pipeline.network.tiling import WholeSlice


def main() -> int:
    bundle_path, series, out = sys.argv[1:]
    bundle = open_bundle(bundle_path)
    how = bundle.recipe.preprocessing.normalisation
    load = Compose(
        [
            LoadImage(image_only=True),
            EnsureChannelFirst(),
            ScaleIntensityRange(a_min=how.low, a_max=how.high, b_min=-1, b_max=1, clip=True),
        ]
    )
    # the network gives scores of the slice's size, which the inferer needs; 572 pixels are the paper's tile
    network = WholeSlice(bundle.load_network(), tile=572).eval()
    image = load(series)
    # MONAI reads (columns, rows): the network has seen (rows, columns)
    turned = image.as_tensor().transpose(1, 2)[None]
    with torch.inference_mode():
        scores = SliceInferer(roi_size=turned.shape[2:4], spatial_dim=2, sw_batch_size=1)(turned, network)
    labels = scores[0].argmax(dim=0, keepdim=True).transpose(1, 2).to(torch.uint8)
    SaveImage(output_dir=out, output_postfix="seg", resample=False, separate_folder=False)(MetaTensor(labels, meta=image.meta))
    return 0


if __name__ == "__main__":
    sys.exit(main())
