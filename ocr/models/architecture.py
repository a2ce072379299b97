"""DBNet: encoder, decoder and head as one model."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from ocr.models.decoder import FPN
from ocr.models.encoder import ResNetEncoder, TinyEncoder
from ocr.models.head import DBHead

Encoder = ResNetEncoder | TinyEncoder


class DBNet(nn.Module):
    """Text detector with differentiable binarization (arXiv 1911.08947).

    Args:
        encoder: gives four maps with `out_channels`.
        decoder: joins them at stride 4.
        head: maps to logits at the input's size.

    Raises:
        ValueError: the channels of neighbouring parts differ.
    """

    size_multiple: ClassVar[int] = 32

    def __init__(self, encoder: Encoder, decoder: FPN, head: DBHead) -> None:
        super().__init__()
        if tuple(encoder.out_channels) != decoder.in_channels:
            raise ValueError(
                f"The encoder gives channels {tuple(encoder.out_channels)} and the decoder takes "
                f"{decoder.in_channels}; give the decoder in_channels={list(encoder.out_channels)}."
            )
        if decoder.out_channels != head.in_channels:
            raise ValueError(
                f"The decoder gives {decoder.out_channels} channels and the head takes {head.in_channels}; "
                f"give the head in_channels={decoder.out_channels}."
            )
        self.encoder = encoder
        self.decoder = decoder
        self.head = head

    def forward(self, images: Tensor, with_threshold: bool = True) -> dict[str, Tensor]:
        """Logits of text probability, and of the binarization threshold if asked for.

        Args:
            images: (N, 3, H, W) floating point, normalised; H and W multiples of 32, not necessarily equal.
            with_threshold: also compute the threshold branch, which only the loss needs.

        Returns:
            `probability_logits` and, if asked for, `threshold_logits`, each (N, 1, H, W) float32.

        Raises:
            ValueError: the shape is not (N, 3, H, W) or a side is no multiple of 32.
        """
        self._check_shape(images)
        return self.head(self.decoder(self.encoder(images)), with_threshold)

    def predict_probability(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) normalised -> probability (N, H, W) float32 in 0..1, without gradient, in the current mode."""
        with torch.no_grad():
            return self(images, with_threshold=False)["probability_logits"].sigmoid().squeeze(1)

    def _check_shape(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"DBNet got images of shape {tuple(images.shape)}; it takes (N, 3, height, width).")
        height, width = images.shape[-2:]
        if height % self.size_multiple or width % self.size_multiple:
            raise ValueError(
                f"DBNet got images of {height} x {width} (height x width); both must be multiples of "
                f"{self.size_multiple}: pad them or choose another image_size."
            )


def build_dbnet(encoder: Encoder, inner_channels: int = 64) -> DBNet:
    """DBNet around an encoder, with an FPN and a head that fit it.

    Args:
        encoder: any of the encoders.
        inner_channels: channels of the pyramid and of the head's input, a multiple of 4.
    """
    decoder = FPN(encoder.out_channels, inner_channels)
    return DBNet(encoder, decoder, DBHead(decoder.out_channels))
