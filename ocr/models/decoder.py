"""Feature pyramid decoder: maps of all strides joined at the finest one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class FPN(nn.Module):
    """Feature pyramid with concatenation, as in DB (arXiv 1911.08947, figure 3).

    Every level is projected to `inner_channels`, coarser levels are added to finer ones, each sum is smoothed to a
    quarter of `out_channels`, and all are joined at the finest stride.

    Args:
        in_channels: channels of the four encoder maps, finest first.
        inner_channels: channels of the top-down pathway.
        out_channels: channels of the result, a multiple of the number of levels; `inner_channels` when None.

    Raises:
        ValueError: `out_channels` is no multiple of the number of levels.
    """

    def __init__(self, in_channels: Sequence[int], inner_channels: int = 64, out_channels: int | None = None) -> None:
        super().__init__()
        self.in_channels = tuple(in_channels)
        self.out_channels = inner_channels if out_channels is None else out_channels
        levels = len(self.in_channels)
        if self.out_channels % levels:
            raise ValueError(f"FPN out_channels is {self.out_channels}; it must be a multiple of {levels} levels.")
        self.lateral = nn.ModuleList(nn.Conv2d(channels, inner_channels, 1, bias=False) for channels in in_channels)
        self.smooth = nn.ModuleList(
            nn.Conv2d(inner_channels, self.out_channels // levels, 3, padding=1, bias=False) for _ in in_channels
        )
        for conv in (*self.lateral, *self.smooth):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Four maps (N, in_channels[i], H / 2^i, W / 2^i) -> (N, out_channels, H, W)."""
        sums = [project(feature) for project, feature in zip(self.lateral, features, strict=True)]
        for level in range(len(sums) - 2, -1, -1):
            sums[level] = sums[level] + _resize(sums[level + 1], sums[level])
        smoothed = [smooth(total) for smooth, total in zip(self.smooth, sums, strict=True)]
        return torch.cat([smoothed[0], *(_resize(level, smoothed[0]) for level in smoothed[1:])], dim=1)


def _resize(coarse: Tensor, fine: Tensor) -> Tensor:
    return functional.interpolate(coarse, size=fine.shape[-2:], mode="nearest")
