"""The compiled network gives what the network gives, one graph per shape; where nothing compiles it runs as it is."""

import pytest
import torch
from torch import Tensor, nn

from ocr.datasets.schemas import ConfigError
from ocr.lightning_modules.compiled_forward import CompiledForward, padded
from ocr.models.architecture import build_dbnet
from ocr.models.encoder import TinyEncoder

# Torch's compiler imports what torch itself deprecates.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
    pytest.mark.usefixtures("fresh_compiler"),
]


def tiny_network() -> nn.Module:
    torch.manual_seed(0)
    return build_dbnet(TinyEncoder(width=8), 16).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def some_images(count: int, side: int = 32) -> Tensor:
    images = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(count))
    return images.contiguous(memory_format=torch.channels_last)


def test_compiled_logits_equal_eager_ones_and_a_smaller_batch_neither_recompiles_nor_changes_its_images() -> None:
    network = tiny_network()
    compiled = CompiledForward(network, "default")
    with torch.no_grad():
        for count in (4, 3, 1):
            images = some_images(count)
            found = compiled(images, False)["probability_logits"]
            assert found.shape == (count, 1, 32, 32)
            torch.testing.assert_close(
                found, network(images, with_threshold=False)["probability_logits"], atol=1e-4, rtol=1e-4
            )
    assert compiled.declined == ""
    assert compiled.graphs == 1


def test_a_smaller_batch_of_training_is_not_padded_and_runs_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny_network().train()
    compiled = CompiledForward(network, "default")
    seen: list[int] = []
    monkeypatch.setattr(compiled, "_forward", lambda images, with_threshold: {"logits": images})
    network.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    compiled(some_images(4), True)
    assert seen == []
    assert len(compiled(some_images(3), True)["probability_logits"]) == 3
    assert seen == [3]


def test_without_a_compiler_the_network_runs_as_it_is_and_the_reason_is_kept(no_compiler: None) -> None:
    network = tiny_network()
    compiled = CompiledForward(network, "default")
    images = some_images(2)
    with torch.no_grad():
        found = compiled(images, False)["probability_logits"]
        assert torch.equal(found, network(images, with_threshold=False)["probability_logits"])
    assert "compiler" in compiled.declined.lower()
    assert "\n" not in compiled.declined


def test_padding_repeats_the_last_image_and_keeps_the_memory_format() -> None:
    images = some_images(2)
    more = padded(images, 2)
    assert torch.equal(more[:2], images)
    assert torch.equal(more[2], images[1])
    assert torch.equal(more[3], images[1])
    assert more.is_contiguous(memory_format=torch.channels_last)
    assert padded(images, 0) is images


def test_an_unknown_mode_is_refused_with_the_allowed_ones() -> None:
    with pytest.raises(ConfigError, match=r"model\.compile_mode='fastest' is unknown.*allowed: null, default"):
        CompiledForward(tiny_network(), "fastest")
