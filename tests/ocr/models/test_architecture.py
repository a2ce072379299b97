import io

import pytest
import torch

from ocr.models.architecture import DBNet, build_dbnet
from ocr.models.decoder import FPN
from ocr.models.encoder import ResNetEncoder, TinyEncoder
from ocr.models.head import DBHead


@pytest.fixture
def tiny() -> DBNet:
    torch.manual_seed(0)
    return build_dbnet(TinyEncoder(16), 32).eval()


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 32)])
def test_maps_have_the_size_of_the_input_square_or_not(tiny, size):
    outputs = tiny(torch.randn(2, 3, *size))
    assert {tuple(value.shape) for value in outputs.values()} == {(2, 1, *size)}
    assert {value.dtype for value in outputs.values()} == {torch.float32}


def test_the_resnet_detector_gives_maps_of_the_input_size():
    assert build_dbnet(ResNetEncoder(18))(torch.randn(1, 3, 64, 96))["probability_logits"].shape == (1, 1, 64, 96)


def test_weights_of_the_tiny_detector_are_well_under_a_megabyte(tiny):
    assert sum(p.numel() for p in tiny.parameters()) <= 180_000
    buffer = io.BytesIO()
    torch.save(tiny.state_dict(), buffer)
    assert buffer.tell() < 700_000


def test_probability_lies_in_0_to_1_and_carries_no_gradient(tiny):
    probability = tiny.predict_probability(torch.randn(2, 3, 64, 32))
    assert probability.shape == (2, 64, 32)
    assert probability.dtype == torch.float32
    assert not probability.requires_grad
    assert 0 <= probability.min() <= probability.max() <= 1


def test_channels_last_gives_the_same_maps(tiny):
    images = torch.randn(2, 3, 64, 96)
    plain = tiny.predict_probability(images)
    tiny.to(memory_format=torch.channels_last)
    last = tiny.predict_probability(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(plain, last, atol=1e-5, rtol=0)


def test_bfloat16_autocast_gives_float32_probabilities_near_those_of_float32(tiny):
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        probability = tiny.predict_probability(images)
    assert probability.dtype == torch.float32
    torch.testing.assert_close(probability, tiny.predict_probability(images), atol=0.02, rtol=0)


@pytest.mark.parametrize("size", [(64, 100), (31, 32)])
def test_a_size_that_is_no_multiple_of_32_is_named(tiny, size):
    with pytest.raises(ValueError, match=rf"{size[0]} x {size[1]} \(height x width\); both must be multiples of 32"):
        tiny(torch.zeros(1, 3, *size))


def test_images_without_three_channels_are_refused(tiny):
    with pytest.raises(ValueError, match=r"shape \(1, 1, 32, 32\); it takes \(N, 3, height, width\)"):
        tiny(torch.zeros(1, 1, 32, 32))


def test_an_encoder_that_does_not_fit_its_decoder_is_refused():
    with pytest.raises(ValueError, match=r"give the decoder in_channels=\[16, 32, 48, 64\]"):
        DBNet(TinyEncoder(16), FPN((64, 128, 256, 512)), DBHead(64))


def test_a_head_that_does_not_fit_its_decoder_is_refused():
    with pytest.raises(ValueError, match="give the head in_channels=32"):
        DBNet(TinyEncoder(16), FPN((16, 32, 48, 64), 32), DBHead(64))
