import pytest
import torch

from ocr.models.encoder import EncoderWeightsError, ResNetEncoder, TinyEncoder

# torchvision.models.resnet18().state_dict(), without fc.*, written down from its published weights.
_BN = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_BLOCK = ("conv1.weight", *(f"bn1.{n}" for n in _BN), "conv2.weight", *(f"bn2.{n}" for n in _BN))
_SHORTCUT = ("downsample.0.weight", *(f"downsample.1.{n}" for n in _BN))
RESNET18_NAMES = (
    "conv1.weight",
    *(f"bn1.{n}" for n in _BN),
    *(f"layer1.0.{n}" for n in _BLOCK),
    *(f"layer1.1.{n}" for n in _BLOCK),
    *(f"layer2.0.{n}" for n in (*_BLOCK, *_SHORTCUT)),
    *(f"layer2.1.{n}" for n in _BLOCK),
    *(f"layer3.0.{n}" for n in (*_BLOCK, *_SHORTCUT)),
    *(f"layer3.1.{n}" for n in _BLOCK),
    *(f"layer4.0.{n}" for n in (*_BLOCK, *_SHORTCUT)),
    *(f"layer4.1.{n}" for n in _BLOCK),
)


def test_resnet18_state_dict_has_the_names_and_order_of_torchvision():
    assert tuple(ResNetEncoder(18).state_dict()) == RESNET18_NAMES


@pytest.mark.parametrize(
    ("depth", "parameters", "shapes"),
    [
        # Parameters of torchvision's models less those of fc (513,000; 513,000; 2,049,000).
        (18, 11_689_512 - 513_000, {"layer4.1.conv2.weight": (512, 512, 3, 3)}),
        (34, 21_797_672 - 513_000, {"layer3.5.conv1.weight": (256, 256, 3, 3)}),
        (
            50,
            25_557_032 - 2_049_000,
            {"layer1.0.downsample.0.weight": (256, 64, 1, 1), "layer4.2.conv3.weight": (2048, 512, 1, 1)},
        ),
    ],
)
def test_resnets_have_the_size_and_shapes_of_torchvision(depth, parameters, shapes):
    encoder = ResNetEncoder(depth)
    assert sum(p.numel() for p in encoder.parameters()) == parameters
    state = encoder.state_dict()
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


@pytest.mark.parametrize(
    ("kind", "size"), [(ResNetEncoder, 18), (ResNetEncoder, 50), (TinyEncoder, 16), (TinyEncoder, 8)]
)
def test_feature_maps_have_the_declared_channels_and_strides(kind, size):
    encoder = kind(size)
    features = encoder(torch.zeros(2, 3, 64, 96))
    expected = [(2, c, 64 // s, 96 // s) for c, s in zip(encoder.out_channels, encoder.strides, strict=True)]
    assert [tuple(f.shape) for f in features] == expected


def test_published_weights_load_from_a_local_file_without_their_classifier(tmp_path):
    source = ResNetEncoder(18)
    file = tmp_path / "resnet18.pth"
    torch.save({**source.state_dict(), "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, file)
    loaded = ResNetEncoder(18, weights=file)
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), loaded.state_dict().values(), strict=True)
    )


def test_weights_of_another_depth_are_refused_by_the_first_name_that_differs(tmp_path):
    file = tmp_path / "resnet34.pth"
    torch.save(ResNetEncoder(34).state_dict(), file)
    with pytest.raises(
        EncoderWeightsError, match=r"do not fit ResNet-18: 0 missing names, .* \(first: layer1\.2\.conv1\.weight\)"
    ):
        ResNetEncoder(18, weights=file)


def test_weights_of_another_shape_are_refused_with_both_shapes(tmp_path):
    state = ResNetEncoder(18).state_dict()
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    torch.save(state, tmp_path / "grey.pth")
    with pytest.raises(
        EncoderWeightsError, match=r"conv1\.weight has shape \(64, 1, 7, 7\) where \(64, 3, 7, 7\) is needed"
    ):
        ResNetEncoder(18, weights=tmp_path / "grey.pth")


def test_an_absent_weights_file_is_named(tmp_path):
    with pytest.raises(EncoderWeightsError, match=r"absent\.pth do not exist; give a local file"):
        ResNetEncoder(18, weights=tmp_path / "absent.pth")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 broken zip"])
def test_a_file_that_is_no_state_dict_is_named(tmp_path, content):
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(EncoderWeightsError, match=r"weights\.pth are no state dict"):
        ResNetEncoder(18, weights=file)


def test_a_saved_tensor_is_no_state_dict(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(EncoderWeightsError, match="hold a Tensor; a state dict is needed"):
        ResNetEncoder(18, weights=tmp_path / "tensor.pth")


def test_an_unknown_depth_names_the_known_ones():
    with pytest.raises(ValueError, match=r"depth 20 is unknown; use one of \[18, 34, 50\]"):
        ResNetEncoder(20)


def test_a_tiny_encoder_without_channels_is_refused():
    with pytest.raises(ValueError, match="width is 0; it must be at least 1"):
        TinyEncoder(0)
