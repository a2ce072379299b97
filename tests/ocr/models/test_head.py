import pytest
import torch

from ocr.models.head import PRIOR_PROBABILITY, DBHead


def test_logits_are_float32_and_four_times_as_large_also_under_autocast():
    head = DBHead(16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = head(torch.randn(2, 16, 8, 12))
    assert {name: (value.dtype, tuple(value.shape)) for name, value in outputs.items()} == {
        "probability_logits": (torch.float32, (2, 1, 32, 48)),
        "threshold_logits": (torch.float32, (2, 1, 32, 48)),
    }


def test_the_last_layer_computes_in_float32_under_autocast():
    head = DBHead(16)
    seen = []
    head.probability.last.register_forward_hook(lambda _, args, output: seen.append((args[0].dtype, output.dtype)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        head(torch.randn(1, 16, 8, 8))
    assert seen == [(torch.float32, torch.float32)]


def test_the_threshold_branch_runs_only_when_asked_for():
    head = DBHead(16)
    calls = []
    head.threshold.register_forward_hook(lambda *_: calls.append(1))
    assert list(head(torch.randn(1, 16, 8, 8), with_threshold=False)) == ["probability_logits"]
    assert calls == []


def test_the_first_probabilities_are_near_the_prior():
    torch.manual_seed(0)
    probability = DBHead(64).eval()(torch.randn(2, 64, 16, 16))["probability_logits"].sigmoid()
    assert PRIOR_PROBABILITY / 2 < probability.mean() < PRIOR_PROBABILITY * 2


def test_channels_that_do_not_divide_by_four_are_refused():
    with pytest.raises(ValueError, match="in_channels is 30; it must be a multiple of 4"):
        DBHead(30)
