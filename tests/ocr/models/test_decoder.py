import pytest
import torch

from ocr.models.decoder import FPN


@pytest.mark.parametrize(("inner", "out", "expected"), [(64, None, 64), (32, 48, 48)])
def test_the_pyramid_joins_all_levels_at_the_finest_size(inner, out, expected):
    fpn = FPN((8, 16, 24, 32), inner, out)
    features = [torch.zeros(2, c, 24 // 2**i, 40 // 2**i) for i, c in enumerate((8, 16, 24, 32))]
    assert fpn(features).shape == (2, expected, 24, 40)
    assert fpn.out_channels == expected


def test_coarse_levels_reach_the_finest_quarter_of_the_result():
    fpn = FPN((4, 4, 4, 4), 8)
    features = [torch.zeros(1, 4, 16 // 2**i, 16 // 2**i) for i in range(4)]
    features[3] += 1.0
    assert fpn(features)[:, :2].abs().max() > 0


def test_channels_that_do_not_divide_by_the_levels_are_refused():
    with pytest.raises(ValueError, match="out_channels is 30; it must be a multiple of 4 levels"):
        FPN((8, 8, 8, 8), 30)
