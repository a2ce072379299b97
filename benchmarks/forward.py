"""Time the forward pass of validation: `python -m benchmarks.forward --arm=... [--size 640] [--batch 16]`.

A ResNet-18 DBNet with random weights of a fixed seed, on normalised receipts.
- `reference`: float32, contiguous, the allocator as it is.
- `channels_last`, `bf16`: one switch each.
- `fast`: bf16 autocast, channels_last, and an allocator that keeps its pages.

`largest_difference` is the largest of all probabilities from the reference's, computed untimed after the timing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.harness import arm_parser, median_seconds, positive, print_line, receipts_folder, split_config
from ocr.datasets.base import OCRDataset
from ocr.datasets.collate import collate
from ocr.datasets.schemas import CacheConfig
from ocr.datasets.transforms import IMAGENET_MEAN, IMAGENET_STD, LetterboxTransform
from ocr.models.architecture import DBNet, build_dbnet
from ocr.models.encoder import ResNetEncoder
from ocr.utils.allocator import keep_pages


class Switches(NamedTuple):
    """What an arm switches on."""

    bf16: bool = False
    channels_last: bool = False
    keep_pages: bool = False


ARMS = {
    "reference": Switches(),
    "fast": Switches(bf16=True, channels_last=True, keep_pages=True),
    "channels_last": Switches(channels_last=True),
    "bf16": Switches(bf16=True),
}


def network_input(data: Path | None, batch: int, side: int) -> tuple[Tensor, str]:
    """Return (batch, 3, side, side) float32 normalised, contiguous, and the content hash of its images."""
    with tempfile.TemporaryDirectory() as name:
        split = OCRDataset(
            split_config(receipts_folder(data), batch, Path(name), CacheConfig()), LetterboxTransform((side, side))
        )
        images = next(iter(DataLoader(split, batch, collate_fn=collate))).images
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        return ((images.float() / 255 - mean) / std).contiguous(), split.content_hash


def forward_pass(images: Tensor, switches: Switches) -> Callable[[], Tensor]:
    """Return a function that computes the probabilities (N, H, W), the same network for all switches."""
    torch.manual_seed(0)
    network: DBNet = build_dbnet(ResNetEncoder(18)).eval()
    if switches.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = images.contiguous(memory_format=torch.channels_last)

    def run() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=switches.bf16):
            return network.predict_probability(images)

    return run


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the forward pass of one arm, compare it with the reference's, print the line."""
    parser = arm_parser(__doc__, tuple(ARMS), images=16)
    parser.add_argument("--size", type=positive, default=640, help="side of the square input, a multiple of 32")
    parser.add_argument("--batch", type=positive, default=16)
    given = parser.parse_args(arguments)
    switches = ARMS[given.arm]
    # Before the first large tensor: pages given back until then are faulted in again.
    refused = keep_pages() if switches.keep_pages else None
    images, dataset = network_input(given.data, min(given.batch, given.images), given.size)
    seconds, probabilities = median_seconds(forward_pass(images, switches), given.repeats)
    reference = forward_pass(images, ARMS["reference"])()
    print_line(
        given.arm,
        seconds,
        f"forward pass of {len(images)} images of side {given.size} through a ResNet-18 DBNet, probability branch",
        dataset,
        largest_difference=float((probabilities - reference).abs().max()),
        threads=torch.get_num_threads(),
        allocator_refused=refused or "",
    )


if __name__ == "__main__":
    main()
