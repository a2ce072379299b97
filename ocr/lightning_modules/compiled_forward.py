"""The network's forward through `torch.compile`, with one static graph per shape of a batch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch._dynamo.exc import BackendCompilerFailed
from torch._dynamo.utils import counters
from torch._inductor.exc import GPUTooOldForTriton, TritonMissing

from ocr.datasets.schemas import ConfigError
from ocr.utils.errors import nearest

logger = logging.getLogger(__name__)

COMPILE_MODES = ("default", "reduce-overhead", "max-autotune")
GRAPH_LIMIT = 64
"""Graphs of one function that torch may keep: shapes x training and evaluation x with and without the threshold."""

CompilerErrors = (BackendCompilerFailed, TritonMissing, GPUTooOldForTriton)


class CompiledForward:
    """Calls a network through compiled graphs; it is no module, so that names in a state_dict stay as they are.

    A batch smaller than the largest one of its shape would need a graph of its own. In evaluation it is padded with its
    last image, and the surplus rows are dropped; in training it runs uncompiled, since batch normalisation must not
    see padding. Where nothing can be compiled, everything runs uncompiled.

    Attributes:
        declined: why nothing is compiled on this machine; empty while it works.
    """

    def __init__(self, network: nn.Module, mode: str) -> None:
        """Compile at the first call.

        Raises:
            ConfigError: an unknown mode.
        """
        if mode not in COMPILE_MODES:
            raise ConfigError(
                f"model.compile_mode={mode!r} is unknown{nearest(mode, COMPILE_MODES)}; "
                f"allowed: null, {', '.join(COMPILE_MODES)}"
            )
        torch._dynamo.config.recompile_limit = max(GRAPH_LIMIT, torch._dynamo.config.recompile_limit)
        self._network = network
        self._forward = cast(
            "Callable[[Tensor, bool], dict[str, Tensor]]", torch.compile(network.forward, dynamic=False, mode=mode)
        )
        self._largest: dict[tuple[bool, torch.Size], int] = {}
        self._graphs_before = _graphs_of_this_process()
        self.declined = ""

    @property
    def graphs(self) -> int:
        """Number of graphs that were compiled since this object was made."""
        return _graphs_of_this_process() - self._graphs_before

    def __call__(self, images: Tensor, with_threshold: bool) -> dict[str, Tensor]:
        """(N, 3, H, W) normalised -> logits, as the network gives them."""
        shape = (self._network.training, images.shape[1:])
        self._largest[shape] = max(len(images), self._largest.get(shape, 0))
        missing = self._largest[shape] - len(images)
        if self.declined or (missing and self._network.training):
            return self._uncompiled(images, with_threshold)
        try:
            outputs = self._forward(padded(images, missing), with_threshold)
        except CompilerErrors as error:
            self.declined = _first_line(error)
            logger.warning("Going on without compiling: %s", self.declined)
            return self._uncompiled(images, with_threshold)
        return {name: logits[: len(images)] for name, logits in outputs.items()}

    def _uncompiled(self, images: Tensor, with_threshold: bool) -> dict[str, Tensor]:
        return cast("dict[str, Tensor]", self._network(images, with_threshold=with_threshold))


def padded(images: Tensor, missing: int) -> Tensor:
    """Return (N, C, H, W) images with the last one repeated `missing` times, in the same memory format."""
    if not missing:
        return images
    channels_last = images.is_contiguous(memory_format=torch.channels_last)
    return torch.cat([images, images[-1:].expand(missing, -1, -1, -1)]).contiguous(
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )


def _graphs_of_this_process() -> int:
    return int(counters["stats"]["unique_graphs"])


def _first_line(error: Exception) -> str:
    cause = getattr(error, "inner_exception", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__
