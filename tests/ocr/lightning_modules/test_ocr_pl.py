"""The module: normalising to the last bit, numbers that stay float32 under mixed precision, names of its weights."""

from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from ocr.datasets.collate import Batch
from ocr.datasets.schemas import ConfigError
from ocr.datasets.transforms import IMAGENET_MEAN, IMAGENET_STD
from ocr.inference import compose_config
from ocr.lightning_modules.ocr_pl import OCRPLModule
from ocr.lightning_modules.replay import StageReplay


def tiny_module(**settings: Any) -> OCRPLModule:
    torch.manual_seed(0)
    module: OCRPLModule = instantiate(compose_config("train", ["model=tiny"]).model, **settings)
    return module.eval()


def batch_of(images: np.ndarray, first: int = 0) -> Batch:
    """A batch of (N, H, W, 3) images without truth."""
    count, height, width = images.shape[:3]
    zeros = torch.zeros(count, height, width)
    return Batch(
        indices=[*range(first, first + count)],
        names=[f"{first + number}.jpg" for number in range(count)],
        images=torch.from_numpy(images).permute(0, 3, 1, 2),
        targets=dict.fromkeys(("shrink", "shrink_mask", "threshold", "threshold_mask"), zeros),
        matrices=np.stack([np.eye(3)] * count),
        original_sizes=[(height, width)] * count,
        truth=[[]] * count,
        truth_ignore=[[]] * count,
        stages={},
        cache={},
        first_hit=None,
    )


def random_images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
def test_uint8_is_normalised_to_the_bits_that_float32_arithmetic_gives(memory_format: str) -> None:
    scale = np.array([1 / (255 * std) for std in IMAGENET_STD], np.float32)
    shift = np.array([-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)], np.float32)
    images = random_images(3)
    expected = images.astype(np.float32) * scale + shift
    found = tiny_module(memory_format=memory_format).normalise(batch_of(images).images)
    assert found.dtype == torch.float32
    assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), expected)


def test_float32_images_pass_as_they_are() -> None:
    images = batch_of(np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)).images
    assert torch.equal(tiny_module().normalise(images), images)


def test_logits_and_loss_are_float32_with_autocast_off_while_the_first_convolution_runs_in_bf16() -> None:
    module, batch = tiny_module(), batch_of(random_images(2))
    inside: list[bool] = []
    module.network.head.probability.last.register_forward_hook(  # type: ignore[union-attr]
        lambda *_: inside.append(torch.is_autocast_enabled("cpu"))
    )
    with torch.autocast("cpu", torch.bfloat16):
        outputs = module.network(module.normalise(batch.images))
        mixed = module.loss(outputs, batch.targets)
    assert module.seen_dtype == "bfloat16"
    assert inside == [False]
    assert {value.dtype for value in (*outputs.values(), *mixed.values())} == {torch.float32}
    assert torch.equal(mixed["loss"], module.loss(outputs, batch.targets)["loss"])


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_a_compiled_network_keeps_the_names_of_its_weights() -> None:
    assert tiny_module(compile_mode="default").state_dict().keys() == tiny_module().state_dict().keys()


@pytest.mark.parametrize(
    ("setting", "why"), [({"compile_mode": "slow"}, "model.compile_mode"), ({"post_workers": -2}, "model.post_workers")]
)
def test_a_setting_that_cannot_work_is_refused_when_the_module_is_built(setting: dict[str, Any], why: str) -> None:
    with pytest.raises(Exception, match=why) as raised:
        tiny_module(**setting)
    assert isinstance(raised.value.__cause__, ConfigError)


def test_each_stage_of_a_prediction_is_timed_under_its_name() -> None:
    module = tiny_module()
    with torch.no_grad():
        module.detect(batch_of(random_images(2)))
    assert set(module.clock.end_epoch().stages) == {"normalise", "forward", "to_host", "post"}


def test_a_replayed_forward_gives_the_maps_of_its_batch_without_running_the_network() -> None:
    module = tiny_module()
    module.replay = StageReplay(["forward"])
    batches = [batch_of(random_images(2, seed), first=2 * seed) for seed in range(2)]
    calls: list[int] = []
    module.network.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        first = [module._probability_maps(batch) for batch in batches]
        again = [module._probability_maps(batch) for batch in batches]
    assert len(calls) == 2
    assert not np.array_equal(first[0], first[1])
    for before, after in zip(first, again, strict=True):
        assert np.array_equal(before, after)


def test_a_replayed_copy_keeps_the_images_and_lets_the_loader_describe_the_batch() -> None:
    module = tiny_module()
    module.replay = StageReplay(["copy"])
    cpu = torch.device("cpu")
    stored = module.transfer_batch_to_device(batch_of(random_images(2)), cpu, 0)
    later = batch_of(random_images(2, seed=9))
    later.stages["decode"] = 7.0
    replayed = module.transfer_batch_to_device(later, cpu, 0)
    assert torch.equal(replayed.images, stored.images)
    assert replayed.stages == {"decode": 7.0}
