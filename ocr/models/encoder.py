"""Image encoders: feature maps at strides 4, 8, 16 and 32."""

import pickle
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from ocr.utils.errors import OCRError


class EncoderWeightsError(OCRError):
    """A weights file that is absent or does not fit the encoder."""


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def _downsample(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2015, figure 5 left)."""

    expansion: ClassVar[int] = 1

    def __init__(self, inputs: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, planes, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv3x3(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _downsample(inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, planes, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3 (strided, as in torchvision's v1.5 form), 1x1 with a shortcut (He et al. 2015, figure 5 right)."""

    expansion: ClassVar[int] = 4

    def __init__(self, inputs: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        outputs = planes * self.expansion
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv3x3(planes, planes, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, 4 planes, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + shortcut)


Block = type[BasicBlock] | type[Bottleneck]

_LAYOUTS: dict[int, tuple[Block, tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}


class ResNetEncoder(nn.Module):
    """ResNet without its classifier; the state dict has torchvision's names, so published weights load.

    Args:
        depth: 18, 34 or 50.
        weights: local file of a torchvision ResNet state dict of the same depth (`fc.*` is left out), or None for
            random weights.

    Raises:
        ValueError: unknown depth.
        EncoderWeightsError: the weights file is absent, unreadable, or of another architecture.
    """

    strides: ClassVar[tuple[int, ...]] = (4, 8, 16, 32)

    def __init__(self, depth: int = 18, weights: str | Path | None = None) -> None:
        super().__init__()
        if depth not in _LAYOUTS:
            raise ValueError(f"ResNet depth {depth} is unknown; use one of {sorted(_LAYOUTS)}.")
        block, counts = _LAYOUTS[depth]
        self.depth = depth
        self.out_channels = tuple(planes * block.expansion for planes in (64, 128, 256, 512))
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _layer(block, 64, 64, counts[0], stride=1)
        self.layer2 = _layer(block, self.out_channels[0], 128, counts[1], stride=2)
        self.layer3 = _layer(block, self.out_channels[1], 256, counts[2], stride=2)
        self.layer4 = _layer(block, self.out_channels[2], 512, counts[3], stride=2)
        _initialise(self)
        if weights is not None:
            _load_weights(self, Path(weights), f"ResNet-{depth}")

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) normalised -> four maps (N, out_channels[i], H / strides[i], W / strides[i])."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        return features


class TinyEncoder(nn.Module):
    """A four-stage residual encoder for demonstrations and tests: 123k parameters at width 16.

    Args:
        width: channels of the first stage; the stages have 1, 2, 3 and 4 times as many.
    """

    strides: ClassVar[tuple[int, ...]] = (4, 8, 16, 32)

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"TinyEncoder width is {width}; it must be at least 1.")
        self.out_channels = (width, 2 * width, 3 * width, 4 * width)
        self.stem = nn.Sequential(_conv3x3(3, width, stride=2), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        inputs = (width, *self.out_channels[:-1])
        self.stages = nn.ModuleList(BasicBlock(i, o, stride=2) for i, o in zip(inputs, self.out_channels, strict=True))
        _initialise(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) normalised -> four maps (N, out_channels[i], H / strides[i], W / strides[i])."""
        x = self.stem(images)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def _layer(block: Block, inputs: int, planes: int, count: int, stride: int) -> nn.Sequential:
    blocks = [block(inputs, planes, stride)]
    blocks += [block(planes * block.expansion, planes) for _ in range(count - 1)]
    return nn.Sequential(*blocks)


def _initialise(encoder: nn.Module) -> None:
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _load_weights(encoder: nn.Module, path: Path, name: str) -> None:
    if not path.is_file():
        raise EncoderWeightsError(
            f"Encoder weights {path} do not exist; give a local file of torchvision's {name} weights or null."
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise EncoderWeightsError(
            f"Encoder weights {path} are no state dict ({type(error).__name__}); make them with torch.save."
        ) from error
    if not isinstance(state, dict):
        raise EncoderWeightsError(f"Encoder weights {path} hold a {type(state).__name__}; a state dict is needed.")
    state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    problem = _mismatch(encoder.state_dict(), state)
    if problem:
        raise EncoderWeightsError(f"Encoder weights {path} do not fit {name}: {problem}; use weights of that depth.")
    encoder.load_state_dict(state)


def _mismatch(own: dict[str, Tensor], given: dict[str, Tensor]) -> str | None:
    missing = [key for key in own if key not in given]
    unknown = [key for key in given if key not in own]
    if missing or unknown:
        return f"{len(missing)} missing names{_first(missing)}, {len(unknown)} unknown names{_first(unknown)}"
    for key, value in own.items():
        if value.shape != given[key].shape:
            return f"{key} has shape {tuple(given[key].shape)} where {tuple(value.shape)} is needed"
    return None


def _first(names: list[str]) -> str:
    return f" (first: {names[0]})" if names else ""
