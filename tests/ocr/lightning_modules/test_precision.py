"""Precision: `auto` picks what the machine is fast at; what cannot work is refused with the way out."""

import pytest

from ocr.datasets.schemas import ConfigError
from ocr.lightning_modules import precision
from ocr.lightning_modules.precision import choose_precision


def test_16_mixed_on_a_cpu_is_refused_and_names_what_works() -> None:
    with pytest.raises(
        ConfigError, match=r"16-mixed needs a GPU .* use trainer\.precision=bf16-mixed, 32-true, or auto"
    ):
        choose_precision("16-mixed", on_gpu=False)


def test_an_unknown_precision_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'bf16-mxed' is unknown \(did you mean 'bf16-mixed'\?\)"):
        choose_precision("bf16-mxed", on_gpu=False)


@pytest.mark.parametrize(("fast", "used"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_on_a_cpu_follows_its_instructions(monkeypatch: pytest.MonkeyPatch, fast: bool, used: str) -> None:
    monkeypatch.setattr(precision, "cpu_multiplies_bf16", lambda: fast)
    chosen = choose_precision("auto", on_gpu=False)
    assert (chosen.asked, chosen.used) == ("auto", used)
    assert "BF16" in chosen.reason


@pytest.mark.parametrize(("asked", "used"), [("32-true", "32-true"), ("bf16-mixed", "bf16-mixed"), (32, "32-true")])
def test_what_is_asked_for_is_used(asked: str | int, used: str) -> None:
    assert choose_precision(asked, on_gpu=False).used == used
