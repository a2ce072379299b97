from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import softplus

from ocr.datasets.targets import TargetBuilder
from ocr.models.architecture import build_dbnet
from ocr.models.encoder import TinyEncoder
from ocr.models.loss import DBLoss


def _targets(shrink: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
    mask = torch.ones_like(shrink) if mask is None else mask
    return {
        "shrink": shrink.to(torch.uint8),
        "shrink_mask": mask.to(torch.uint8),
        "threshold": shrink.to(torch.float16) * 0.4 + 0.3,
        "threshold_mask": (shrink * mask).to(torch.uint8),
    }


def _outputs(shape: tuple[int, ...], seed: int = 0, scale: float = 3.0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    names = ("probability_logits", "threshold_logits")
    return {
        name: (torch.randn(shape[0], 1, *shape[1:], generator=generator) * scale).requires_grad_() for name in names
    }


def _sorted_bce(logits: np.ndarray, shrink: np.ndarray, mask: np.ndarray, ratio: float, without_text: int) -> float:
    """The definition with a full sort."""
    losses = np.logaddexp(0, logits) - logits * shrink
    positive = losses[(shrink == 1) & (mask == 1)]
    negative = np.sort(losses[(shrink == 0) & (mask == 1)])[::-1]
    count = int(len(positive) * ratio) if len(positive) else without_text * len(logits)
    chosen = np.concatenate([positive, negative[:count]])
    return float(chosen.sum() / max(len(chosen), 1))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    text=st.sampled_from([0.0, 0.02, 0.1, 0.6, 1.0]),
    shown=st.sampled_from([0.0, 0.5, 1.0]),
    ratio=st.sampled_from([0.5, 1.0, 3.0]),
    coarse=st.booleans(),
)
def test_cross_entropy_equals_that_of_a_full_sort_over_the_batch(seed, text, shown, ratio, coarse):
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (2, 12, 10)).astype(np.float32)
    if coarse:
        # Many equal logits: the choice among them must not change the sum.
        logits = np.rint(logits)
    shrink, mask = (random.random((2, 2, 12, 10)) < np.array([text, shown])[:, None, None, None]).astype(np.uint8)
    outputs = {"probability_logits": torch.tensor(logits)[:, None], "threshold_logits": torch.zeros(2, 1, 12, 10)}
    loss = DBLoss(negative_ratio=ratio, negatives_without_text=7)(
        outputs, _targets(torch.tensor(shrink), torch.tensor(mask))
    )
    expected = _sorted_bce(logits.astype(np.float64), shrink, mask, ratio, 7)
    assert float(loss["loss_probability"]) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_the_loss_is_5_bce_plus_10_l1_plus_1_dice():
    shrink = torch.zeros(1, 16, 16)
    shrink[:, 4:9, 3:13] = 1
    outputs = _outputs((1, 16, 16))
    loss = DBLoss()(outputs, _targets(shrink))
    threshold = outputs["threshold_logits"][:, 0].sigmoid()
    l1 = (threshold - 0.7)[shrink == 1].abs().mean()
    binary = (50 * (outputs["probability_logits"][:, 0].sigmoid() - threshold)).sigmoid()
    dice = 1 - 2 * (binary * shrink).sum() / (binary.sum() + shrink.sum())
    torch.testing.assert_close(loss["loss_threshold"], l1, atol=2e-4, rtol=0)
    torch.testing.assert_close(loss["loss_binary"], dice, atol=1e-5, rtol=0)
    expected = 5 * loss["loss_probability"] + 10 * loss["loss_threshold"] + loss["loss_binary"]
    torch.testing.assert_close(loss["loss"], expected)


@pytest.mark.parametrize(("text", "shown"), [(0, 1), (1, 0), (0, 0)], ids=["no text", "all ignored", "neither"])
def test_a_batch_without_anything_to_learn_has_a_finite_loss_and_gradient(text, shown):
    outputs = _outputs((2, 32, 32))
    loss = DBLoss()(outputs, _targets(torch.full((2, 32, 32), text), torch.full((2, 32, 32), shown)))
    loss["loss"].backward()
    assert all(torch.isfinite(value) for value in loss.values())
    assert all(torch.isfinite(value.grad).all() for value in outputs.values())
    assert loss["loss_binary"].item() == loss["loss_threshold"].item() == 0.0
    if not shown:
        assert loss["loss"].item() == 0.0
        assert all(float(value.grad.abs().max()) == 0.0 for value in outputs.values())


def test_an_image_without_text_teaches_the_stated_number_of_hardest_negatives():
    outputs = _outputs((2, 40, 40))
    DBLoss(negatives_without_text=25)(outputs, _targets(torch.zeros(2, 40, 40)))["loss"].backward()
    taught = outputs["probability_logits"].grad != 0
    assert int(taught.sum()) == 50
    assert outputs["probability_logits"][taught].min() > outputs["probability_logits"][~taught].max()


def test_hard_negatives_are_three_times_the_positives_pooled_over_the_batch():
    shrink = torch.zeros(2, 40, 40)
    shrink[0, 10:20, 10:20] = 1
    outputs = _outputs((2, 40, 40))
    loss = DBLoss(l1=0, dice=0)(outputs, _targets(shrink))
    loss["loss"].backward()
    taught = outputs["probability_logits"].grad[:, 0] != 0
    assert int((taught & (shrink == 0)).sum()) == 300
    assert bool(taught[1].any()), "an image without text shares the negatives of the batch"


def test_ignored_pixels_get_no_gradient():
    shrink, mask = torch.zeros(1, 32, 32), torch.ones(1, 32, 32)
    shrink[:, 8:12, 4:28] = 1
    mask[:, 20:30] = 0
    outputs = _outputs((1, 32, 32))
    DBLoss()(outputs, _targets(shrink, mask))["loss"].backward()
    assert float(outputs["probability_logits"].grad[:, 0][mask == 0].abs().max()) == 0.0


def test_bfloat16_inputs_are_computed_in_float32_also_under_autocast():
    shrink = (torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(1)) < 0.1).float()
    half = {name: value.detach().bfloat16() for name, value in _outputs((2, 64, 64)).items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = DBLoss()(half, _targets(shrink))
    exact = DBLoss()({name: value.double().float() for name, value in half.items()}, _targets(shrink))
    assert {value.dtype for value in loss.values()} == {torch.float32}
    assert all(torch.equal(loss[name], exact[name]) for name in exact)


@pytest.mark.parametrize("value", [1e4, -1e4, 88.0, 3e38])
def test_extreme_logits_stay_finite(value):
    shrink = torch.zeros(1, 16, 16)
    shrink[:, 4:8, 4:12] = 1
    names = ("probability_logits", "threshold_logits")
    outputs = {name: torch.full((1, 1, 16, 16), value, requires_grad=True) for name in names}
    loss = DBLoss()(outputs, _targets(shrink))
    if value < 1e30:
        loss["loss"].backward()
        assert all(torch.isfinite(tensor.grad).all() for tensor in outputs.values())
    assert all(torch.isfinite(loss[name]) for name in ("loss_threshold", "loss_binary"))


def test_a_perfect_prediction_costs_next_to_nothing():
    shrink = torch.zeros(1, 32, 32)
    shrink[:, 8:16, 4:28] = 1
    threshold = torch.logit(_targets(shrink)["threshold"].float())[:, None]
    loss = DBLoss()(
        {"probability_logits": (shrink[:, None] - 0.5) * 60, "threshold_logits": threshold}, _targets(shrink)
    )
    assert float(loss["loss"]) < 1e-2


def test_targets_are_not_changed():
    targets = _targets((torch.rand(1, 16, 16) < 0.2).float())
    before = {name: value.clone() for name, value in targets.items()}
    DBLoss()(_outputs((1, 16, 16)), targets)["loss"].backward()
    assert all(torch.equal(before[name], targets[name]) for name in targets)


def test_missing_threshold_logits_say_how_to_get_them():
    with pytest.raises(ValueError, match="call the model with with_threshold=True"):
        DBLoss()({"probability_logits": torch.zeros(1, 1, 8, 8)}, _targets(torch.zeros(1, 8, 8)))


def test_targets_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"shrink has shape \(1, 8, 9\); the model's output needs \(1, 8, 8\)"):
        DBLoss()(_outputs((1, 8, 8)), _targets(torch.zeros(1, 8, 9)))


def test_the_gradient_is_that_of_the_chosen_terms():
    shrink = torch.zeros(1, 20, 20)
    shrink[:, 5:8, 5:15] = 1
    outputs = _outputs((1, 20, 20))
    DBLoss(bce=1, l1=0, dice=0)(outputs, _targets(shrink))["loss"].backward()
    logits = outputs["probability_logits"].detach().clone().requires_grad_()
    flat, positive = logits.flatten(), shrink.flatten() == 1
    chosen = torch.cat([softplus(-flat[positive]), softplus(flat[~positive]).topk(90).values])
    chosen.mean().backward()
    torch.testing.assert_close(outputs["probability_logits"].grad, logits.grad)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small tensors on a busy machine: threads wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_the_tiny_detector_overfits_a_toy_image_in_a_few_steps():
    torch.manual_seed(0)
    boxes = [
        np.array([[x, y], [x + 40, y], [x + 40, y + 12], [x, y + 12]], float) for x, y in ((10, 10), (15, 40), (8, 70))
    ]
    maps = TargetBuilder()(boxes, [False] * 3, (96, 64))
    image = torch.ones(1, 3, 96, 64)
    for box in boxes:
        (x0, y0), (x1, y1) = box.min(axis=0).astype(int), box.max(axis=0).astype(int)
        image[:, :, y0:y1, x0:x1] = torch.rand(1, 1, y1 - y0, x1 - x0).round()
    targets = {name: torch.from_numpy(value)[None] for name, value in vars(maps).items()}
    model, loss = build_dbnet(TinyEncoder(16), 32), DBLoss()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss(model(image), targets)["loss"].backward()
        optimizer.step()
    found = model.train().predict_probability(image)[0] > 0.5
    shrink = targets["shrink"][0] == 1
    assert (found & shrink).sum() / (found | shrink).sum() > 0.85
