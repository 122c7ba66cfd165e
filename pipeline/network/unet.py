"""The original U-Net, to be read beside figure 1 of the paper. Needs torch alone.

Source: Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015,
arXiv:1505.04597. Shapes in the comments are the paper's: 572 in, 388 out, 64 channels, 2 classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import UserError
from .sizes import Design, Padding, check_design, output_side

Output = Literal["centre", "rescale"]
Normalization = Literal["none", "batch"]


class OriginalUNet(nn.Module):
    """Contracting path, bottleneck, expanding path with cropped skips, 1x1 convolution to class scores (logits).

    Args:
        in_channels: image channels (modalities, neighbouring slices).
        out_channels: class scores; 2 for the paper's membrane and background.
        width: channels of the first level, doubled at each pooling.
        depth: number of poolings.
        padding: "valid" is the paper's: the output is smaller than the input by the border; "same" pads with zeros.
        output: "centre" gives the scores of the valid centre; "rescale" enlarges them to the input's size, which blurs and
            shifts them towards the border (kept for comparison; the overlap-tile is right, see `tiling.py`).
        normalization: "batch" adds batch normalisation behind each 3x3 convolution. Instance and group normalisation are
            left out: their statistics change with the tile, and the mask would depend on the tile size.
        dropout: probability at the end of the contracting path, the paper's place.
    Shapes: (B, in_channels, H, W) → (B, out_channels, H - 184, W - 184) for the paper's depth, or H x W with "same"/"rescale".
    Raises: UserError for an input side that does not fit, with the nearest that do.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        *,
        width: int = 64,
        depth: int = 4,
        padding: Padding = "valid",
        output: Output = "centre",
        normalization: Normalization = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.design = Design(
            in_channels=in_channels,
            out_channels=out_channels,
            width=width,
            depth=depth,
            padding=padding,
            normalization=normalization == "batch",
        )
        check_design(self.design)
        if padding == "same" and output == "rescale":
            raise UserError("output: rescale is the remedy for padding: valid; with padding: same there is nothing to rescale")
        self.output = output
        widths = [width * 2**level for level in range(depth + 1)]  # 64, 128, 256, 512, 1024
        before = [in_channels, *widths[:-1]]
        pairs = [self._two_convolutions(a, b) for a, b in zip(before, widths, strict=True)]
        self.encoders = nn.ModuleList(pairs[:-1])
        self.bottleneck = pairs[-1]
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(dropout)
        self.up_convolutions = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths[:-1]))
        self.decoders = nn.ModuleList(self._two_convolutions(2 * w, w) for w in reversed(widths[:-1]))
        self.scores = nn.Conv2d(width, out_channels, 1)
        self.initialize()

    def _two_convolutions(self, channels_in: int, channels_out: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for channels in (channels_in, channels_out):
            layers.append(nn.Conv2d(channels, channels_out, 3, padding=1 if self.design.padding == "same" else 0))
            if self.design.normalization:
                layers.append(nn.BatchNorm2d(channels_out))
            layers.append(nn.ReLU(inplace=True))
        return nn.Sequential(*layers)

    def initialize(self) -> None:
        """Gaussian weights of standard deviation sqrt(2 / N), N the incoming nodes of a neuron (paper, section 3); biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                incoming = module.in_channels * module.kernel_size[0] * module.kernel_size[1]  # 3x3 of 64 channels: 576
            elif isinstance(module, nn.ConvTranspose2d):
                incoming = module.in_channels  # stride 2, kernel 2: one pixel of each channel reaches an output pixel
            else:
                continue
            nn.init.normal_(module.weight, std=(2.0 / incoming) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        for side in image.shape[-2:]:
            output_side(self.design, int(side))  # refuses what does not fit, with the nearest that do
        skips: list[Tensor] = []
        x = image  # (B, 1, 572, 572)
        for encoder in self.encoders:
            x = encoder(x)  # (B, 64, 568, 568) (B, 128, 280, 280) (B, 256, 136, 136) (B, 512, 64, 64)
            if len(skips) == self.design.depth - 1:
                x = self.dropout(x)
            skips.append(x)
            x = self.pool(x)  # (B, 64, 284, 284) (B, 128, 140, 140) (B, 256, 68, 68) (B, 512, 32, 32)
        x = self.dropout(self.bottleneck(x))  # (B, 1024, 28, 28)
        for up_convolution, decoder in zip(self.up_convolutions, self.decoders, strict=True):
            x = up_convolution(x)  # (B, 512, 56, 56) (B, 256, 104, 104) (B, 128, 200, 200) (B, 64, 392, 392)
            x = torch.cat([centre_crop(skips.pop(), x), x], dim=1)
            x = decoder(x)  # (B, 512, 52, 52) (B, 256, 100, 100) (B, 128, 196, 196) (B, 64, 388, 388)
        x = self.scores(x)  # (B, 2, 388, 388)
        if self.output == "rescale":
            x = nn.functional.interpolate(x, size=image.shape[-2:], mode="bilinear", align_corners=False)
        return x


def centre_crop(image: Tensor, like: Tensor) -> Tensor:
    """The centre of (B, C, H, W) in the height and width of `like`. Raises: ValueError when the difference is odd."""
    down, across = (image.shape[axis] - like.shape[axis] for axis in (-2, -1))
    if down < 0 or across < 0 or down % 2 or across % 2:
        raise ValueError(f"cannot crop {tuple(image.shape)} evenly to {tuple(like.shape)}")
    top, left = down // 2, across // 2
    return image[..., top : top + like.shape[-2], left : left + like.shape[-1]]
