"""The DB loss: balanced cross entropy, L1 of the threshold map, Dice of the approximate binary map."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

# Keeps quotients of empty sums at zero; far below one pixel, the smallest sum that can mean anything.
EPSILON = 1e-6


class DBLoss(nn.Module):
    """L = bce * BCE(P) + l1 * L1(T) + dice * Dice(B), B = sigmoid(k (P - T)) (arXiv 1911.08947; weights of its code).

    Negatives of the cross entropy are the hardest ones, at most `negative_ratio` times the positives, chosen over the
    whole batch. Everything is computed in float32 with autocast off.

    Args:
        bce: weight of the cross entropy of the probability map.
        l1: weight of the threshold map's L1, inside its mask.
        dice: weight of the Dice loss of the approximate binary map.
        negative_ratio: hard negatives per positive pixel, at most.
        negatives_without_text: hard negative pixels per image when the whole batch has no positive pixel.
        k: steepness of the approximate binarization.
    """

    def __init__(
        self,
        bce: float = 5.0,
        l1: float = 10.0,
        dice: float = 1.0,
        negative_ratio: float = 3.0,
        negatives_without_text: int = 1000,
        k: float = 50.0,
    ) -> None:
        super().__init__()
        self.bce = bce
        self.l1 = l1
        self.dice = dice
        self.negative_ratio = negative_ratio
        self.negatives_without_text = negatives_without_text
        self.k = k

    def forward(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss and its three terms before weighting.

        Args:
            outputs: `probability_logits` and `threshold_logits`, each (N, 1, H, W), any floating type.
            targets: `shrink`, `shrink_mask`, `threshold_mask` (N, H, W) in {0, 1} and `threshold` (N, H, W) in 0..1,
                any type.

        Returns:
            Scalars, float32: `loss`, `loss_probability`, `loss_threshold`, `loss_binary`. Finite also for a batch
            without text or with everything masked, where each empty term is zero.

        Raises:
            ValueError: the threshold logits are absent, or sizes of outputs and targets differ.
        """
        _check(outputs, targets)
        with torch.autocast(outputs["probability_logits"].device.type, enabled=False):
            probability = outputs["probability_logits"].float().squeeze(1)
            threshold = outputs["threshold_logits"].float().squeeze(1).sigmoid()
            shrink, mask = targets["shrink"].float(), targets["shrink_mask"].float()
            loss_probability = self._balanced_bce(probability, shrink, mask)
            loss_threshold = _masked_l1(threshold, targets["threshold"].float(), targets["threshold_mask"].float())
            loss_binary = _dice(torch.sigmoid(self.k * (probability.sigmoid() - threshold)), shrink, mask)
            loss = self.bce * loss_probability + self.l1 * loss_threshold + self.dice * loss_binary
        return {
            "loss": loss,
            "loss_probability": loss_probability,
            "loss_threshold": loss_threshold,
            "loss_binary": loss_binary,
        }

    def _balanced_bce(self, logits: Tensor, shrink: Tensor, mask: Tensor) -> Tensor:
        positive = shrink * mask
        negative = mask - positive
        losses = functional.binary_cross_entropy_with_logits(logits, shrink, reduction="none")
        with torch.no_grad():
            hard, chosen = self._hard_negatives(logits, positive, negative)
        return (losses * (positive + hard)).sum() / max(chosen, 1)

    def _hard_negatives(self, logits: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, int]:
        """Weights (N, H, W) that choose the hardest negatives, and the number of positives and chosen negatives."""
        positives, available = int(positive.count_nonzero()), int(negative.count_nonzero())
        wanted = int(positives * self.negative_ratio) if positives else self.negatives_without_text * len(logits)
        if wanted >= available:
            return negative, positives + available
        # The cross entropy of a negative rises with its logit, so the logits themselves give the order.
        candidates = logits.masked_fill(negative == 0, -torch.inf)
        limit = _kth_largest(candidates, wanted)
        above = (candidates > limit).float()
        ties = (candidates == limit).float()
        # Equal logits share what is left of the count: the sum is that of any top-k, without its arbitrary choice.
        share = (wanted - above.count_nonzero()) / ties.count_nonzero().clamp(min=1)
        return above + ties * share, positives + wanted


def _check(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
    if "threshold_logits" not in outputs:
        raise ValueError("DBLoss needs threshold_logits; call the model with with_threshold=True.")
    expected = tuple(outputs["probability_logits"].squeeze(1).shape)
    for name in ("shrink", "shrink_mask", "threshold", "threshold_mask"):
        if tuple(targets[name].shape) != expected:
            raise ValueError(
                f"Target {name} has shape {tuple(targets[name].shape)}; the model's output needs {expected}."
            )


def _kth_largest(values: Tensor, k: int) -> Tensor:
    """The k-th largest of all values, a scalar tensor; +inf for k = 0."""
    flat = values.flatten()
    if k == 0:
        return flat.new_tensor(torch.inf)
    if flat.device.type == "cpu":
        # numpy's selection is vectorised: 2 ms where torch.kthvalue takes 30 ms for 1.6 million values.
        order = flat.numel() - k
        return flat.new_tensor(np.partition(flat.numpy(), order)[order].item())
    return torch.topk(flat, k, sorted=False).values.min()


def _masked_l1(threshold: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    return ((threshold - target).abs() * mask).sum() / (mask.sum() + EPSILON)


def _dice(binary: Tensor, shrink: Tensor, mask: Tensor) -> Tensor:
    intersection = (binary * shrink * mask).sum()
    total = (binary * mask).sum() + (shrink * mask).sum()
    # Without any positive pixel Dice is 1 whatever the map says: zero keeps such batches comparable with others.
    has_text = ((shrink * mask).sum() > 0).float()
    return has_text * (1 - 2 * intersection / (total + EPSILON))
