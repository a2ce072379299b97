"""Measure how near the fast forward pass is to what this processor can multiply: `python -m benchmarks.roofline`.

The peak is that of a plain 3x3 convolution of many channels, in bf16 and channels_last, the densest work that the
library has here; the operations of the network are counted, not estimated. Prints one JSON line: no arrangement of the
same operations can be faster than `shortest_seconds_per_image`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.forward import ARMS, forward_pass, network_input
from benchmarks.harness import add_data_options, median_seconds, positive
from ocr.utils.allocator import keep_pages

PEAK_CHANNELS, PEAK_SIDE = 256, 40


def peak_flops(batch: int, repeats: int) -> float:
    """Return floating-point operations a second of a dense 3x3 convolution in bf16."""
    convolution = nn.Conv2d(PEAK_CHANNELS, PEAK_CHANNELS, 3, padding=1, bias=False, dtype=torch.bfloat16)
    convolution = convolution.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(batch, PEAK_CHANNELS, PEAK_SIDE, PEAK_SIDE, dtype=torch.bfloat16)
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        seconds, _ = median_seconds(lambda: convolution(images), repeats)
    # Two operations, a product and a sum, for each weight at each place.
    return 2 * 9 * PEAK_CHANNELS**2 * PEAK_SIDE**2 * batch / seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_options(parser, images=16)
    parser.add_argument("--size", type=positive, default=640, help="side of the square input, a multiple of 32")
    parser.add_argument("--repeats", type=positive, default=9, help="timed passes; their median counts")
    given = parser.parse_args(arguments)
    keep_pages()
    images, dataset = network_input(given.data, given.images, given.size)
    run = forward_pass(images, ARMS["fast"])
    with FlopCounterMode(display=False) as counter:
        run()
    operations = counter.get_total_flops() / len(images)
    peak = peak_flops(len(images), given.repeats)
    seconds = median_seconds(run, given.repeats)[0] / len(images)
    line = {
        "seconds_per_image": seconds,
        "shortest_seconds_per_image": operations / peak,
        "share_of_peak": operations / peak / seconds,
        "peak_gigaflops": peak / 1e9,
        "gigaflop_per_image": operations / 1e9,
        "dataset": dataset,
        "work": f"fast forward of {len(images)} images of side {given.size} through a ResNet-18 DBNet",
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
