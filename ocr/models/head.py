"""The differentiable-binarization head: probability and threshold logits at the size of the input."""

import math

import torch
from torch import Tensor, nn

PRIOR_PROBABILITY = 0.05


class DBHead(nn.Module):
    """Two branches of a 3x3 convolution and two transposed convolutions (x4 up), after arXiv 1911.08947.

    The last layer of each branch runs in float32 also under autocast, so that logits keep their precision. The
    probability bias starts at `PRIOR_PROBABILITY`: most pixels hold no text, and the first steps need not learn that.

    Args:
        in_channels: channels of the decoder's map, a multiple of 4.
    """

    def __init__(self, in_channels: int = 64) -> None:
        super().__init__()
        if in_channels % 4:
            raise ValueError(f"DBHead in_channels is {in_channels}; it must be a multiple of 4.")
        self.in_channels = in_channels
        self.probability = _Branch(in_channels, initial=PRIOR_PROBABILITY)
        self.threshold = _Branch(in_channels, initial=0.5)

    def forward(self, features: Tensor, with_threshold: bool = True) -> dict[str, Tensor]:
        """(N, in_channels, H, W) -> `probability_logits` and, if asked for, `threshold_logits`: (N, 1, 4H, 4W) float32.

        The threshold branch is not computed unless it is asked for.
        """
        outputs = {"probability_logits": self.probability(features)}
        if with_threshold:
            outputs["threshold_logits"] = self.threshold(features)
        return outputs


class _Branch(nn.Module):
    def __init__(self, in_channels: int, initial: float) -> None:
        super().__init__()
        hidden = in_channels // 4
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, hidden, 3, padding=1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(hidden, hidden, 2, stride=2, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
        )
        self.last = nn.ConvTranspose2d(hidden, 1, 2, stride=2)
        _initialise(self, initial)

    def forward(self, features: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, 1, 4H, 4W) float32 logits."""
        features = self.body(features)
        with torch.autocast(features.device.type, enabled=False):
            return self.last(features.float())


def _initialise(branch: _Branch, initial: float) -> None:
    for module in branch.body:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    nn.init.normal_(branch.last.weight, std=0.05)
    bias = branch.last.bias
    if bias is not None:
        nn.init.constant_(bias, math.log(initial / (1 - initial)))
