"""Tuning: only what is faster beyond doubt with accuracy kept, twice, becomes a preset; and the preset composes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from agent_tools.measure.arms_plan import ArmsRequest
from agent_tools.measure.ladder_summaries import contrasts, summaries
from agent_tools.measure.rungs import LadderError, changed_one_at_a_time
from agent_tools.measure.tune import (
    SETTINGS,
    confirmation_design,
    confirmed_setting,
    judged_settings,
    nested,
    preset_text,
    tune,
    tune_design,
    winners,
)
from agent_tools.records.schema import Arm, Benchmark, Protocol
from agent_tools.records.store import RecordStore
from tests.agent_tools.measure.standin import build_repository
from tests.agent_tools.records.build import record, sample

ROOT = Path(__file__).resolve().parents[3]


def arm(name: str, *overrides: str) -> Arm:
    return Arm(name=name, title=name, overrides=list(overrides), precision="", decoder="")


def measured(times: dict[str, list[float]], overrides: dict[str, list[str]], hmean: dict[str, float]) -> Benchmark:
    """A tuning whose first arm is the base; times per arm and round, seconds."""
    arms = [arm(name, *overrides.get(name, [f"{name}=1"])) for name in times]
    design = changed_one_at_a_time("tune", "tune", arms[0], arms[1:])
    samples = [
        sample(name, number, seconds, hmean.get(name, 0.8))
        for name in times
        for number, seconds in enumerate(times[name])
    ]
    rounds = len(times[arms[0].name])
    protocol = Protocol(rounds=rounds, warmup_epochs=1, order_seed=0, order=[], descriptive=rounds < 6)
    return Benchmark(
        name="tune",
        design="tune",
        arms=arms,
        protocol=protocol,
        samples=samples,
        summaries=summaries(samples, arms, 0.005),
        contrasts=contrasts(samples, design.pairings),
        checkpoint_sha256="",
        parity_margin=0.005,
    )


NOISE = [1.0, 1.01, 0.99, 1.005, 0.995, 1.0]


def times(seconds: float, rounds: int = 6) -> list[float]:
    return [seconds * factor for factor in NOISE[:rounds]]


def test_a_setting_wins_only_when_it_is_faster_beyond_doubt_and_as_accurate() -> None:
    benchmark = measured(
        {"base": [4.0] * 6, "fast": times(2.0), "same": times(4.0), "slow": times(5.0), "wrong": times(1.0)},
        {},
        {"wrong": 0.7},
    )
    reasons = {setting.arm.name: setting.reason for setting in judged_settings(benchmark)}
    assert reasons == {
        "fast": "",
        "same": "not faster beyond doubt",
        "slow": "not faster beyond doubt",
        "wrong": "refused: accuracy is worse",
    }
    assert [setting.arm.name for setting in winners(benchmark)] == ["fast"]


def test_few_rounds_or_a_useless_score_win_nothing() -> None:
    few = measured({"base": [4.0] * 5, "fast": times(2.0, 5)}, {}, {})
    blind = measured({"base": [4.0] * 6, "fast": times(2.0)}, {}, {"base": 0.3, "fast": 0.3})
    assert [one.reason for one in judged_settings(few)] == ["descriptive: fewer than six rounds"]
    assert [one.reason for one in judged_settings(blind)] == ["refused: no parity evidence"]
    assert winners(few) == winners(blind) == []


def test_of_several_values_of_one_key_the_fastest_wins_and_the_winners_are_confirmed_together() -> None:
    benchmark = measured(
        {"base": [4.0] * 6, "b8": times(3.0), "b32": times(2.0), "t1": times(3.5)},
        {"base": [], "b8": ["batch_size=8"], "b32": ["batch_size=32"], "t1": ["threads=1"]},
        {},
    )
    won = winners(benchmark)
    assert [setting.arm.name for setting in won] == ["b32", "t1"]
    design = confirmation_design(won)
    assert [item.name for item in design.arms] == ["defaults", "b32", "together"]
    assert sorted(design.arms[2].overrides) == ["batch_size=32", "threads=1"]
    assert [item.name for item in confirmation_design(won[:1]).arms] == ["defaults", "b32"]


def test_where_winners_set_one_key_differently_the_faster_ones_value_stays() -> None:
    benchmark = measured(
        {"base": [4.0] * 6, "fastest": times(1.0), "other": times(2.0)},
        {"base": [], "fastest": ["workers=1", "ahead=4"], "other": ["workers=2"]},
        {},
    )
    together = confirmation_design(winners(benchmark)).arms[2]
    assert sorted(together.overrides) == ["ahead=4", "workers=1"]


def test_a_combination_that_is_not_faster_than_the_best_single_one_is_not_taken() -> None:
    slower = measured({"defaults": [4.0] * 6, "b32": times(2.0), "together": times(2.5)}, {}, {})
    faster = measured({"defaults": [4.0] * 6, "b32": times(2.0), "together": times(1.5)}, {}, {})
    neither = measured({"defaults": [4.0] * 6, "b32": times(4.0), "together": times(4.1)}, {}, {})
    names = [chosen and chosen.arm.name for chosen in map(confirmed_setting, (slower, faster, neither))]
    assert names == ["b32", "together", None]


def test_a_preset_holds_the_keys_that_won_and_names_its_records() -> None:
    chosen = confirmed_setting(
        measured(
            {"defaults": [4.0] * 6, "w": times(2.0)},
            {"defaults": [], "w": ["dataloaders.num_workers=1", "dataloaders.prefetch_factor=4", "batch_size=32"]},
            {},
        )
    )
    trial, confirmation = record(), record()
    text = preset_text(trial, confirmation, chosen)
    assert text.startswith("# @package _global_\n")
    assert trial.id in text
    assert confirmation.id in text
    assert yaml.safe_load(text) == {"batch_size": 32, "dataloaders": {"num_workers": 1, "prefetch_factor": 4}}


def composed(folder: Path, text: str) -> Any:
    (folder / "preset").mkdir(parents=True)
    (folder / "preset" / "tuned_here.yaml").write_text(text)
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        return compose("evaluate", overrides=["preset=tuned_here", f"hydra.searchpath=[file://{folder}]"])


def test_a_preset_composes_with_the_trainer_and_beats_its_defaults(tmp_path: Path) -> None:
    changed = measured(
        {"defaults": [4.0] * 6, "w": times(2.0)},
        {"defaults": [], "w": ["dataloaders.num_workers=1", "batch_size=4", "trainer.precision=32-true"]},
        {},
    )
    config = composed(tmp_path / "won", preset_text(record(), record(), confirmed_setting(changed)))
    assert (config.batch_size, config.dataloaders.num_workers, config.trainer.precision) == (4, 1, "32-true")
    plain = composed(tmp_path / "nothing", preset_text(record(), None, None))
    assert plain.batch_size == 16


def test_keys_that_cannot_be_nested_are_refused() -> None:
    with pytest.raises(LadderError, match=r"'a\.b' lies below 'a'"):
        nested(["a=1", "a.b=2"])


def test_unknown_settings_are_refused_and_chosen_ones_restrict_the_arms() -> None:
    with pytest.raises(LadderError, match="'colour'; choose from workers"):
        tune_design(["colour"])
    names = [item.name for item in tune_design(["batch", "compile"]).arms]
    assert names == ["defaults", "batch_4", "batch_8", "batch_16", "batch_32", "compile"]
    assert len(tune_design().arms) == 1 + sum(len(make()) for make in SETTINGS.values())


def test_tuning_measures_confirms_and_writes_the_preset_of_this_machine(tmp_path: Path) -> None:
    data = build_repository(tmp_path)
    checkpoint = tmp_path / "a.ckpt"
    checkpoint.write_bytes(b"weights")
    request = ArmsRequest(data=data, images=4, rounds=6, passes=2, checkpoint=checkpoint, foreign_limit=1.0)
    found = tune(tmp_path, request, ["batch"], session="night")
    assert found.trial.machine is not None
    assert found.preset == tmp_path / "configs" / "preset" / f"tuned_{found.trial.machine.key}.yaml"
    assert found.confirmation is not None
    assert found.chosen is not None
    assert found.chosen.arm.overrides == ["batch_size=32"]
    text = found.preset.read_text()
    assert yaml.safe_load(text) == {"batch_size": 32}
    assert found.confirmation.id in text
    assert RecordStore(tmp_path).list().total == 2


def test_where_nothing_wins_there_is_no_confirmation_and_a_preset_that_changes_nothing(tmp_path: Path) -> None:
    data = build_repository(tmp_path)
    found = tune(tmp_path, ArmsRequest(data=data, images=4, rounds=1, passes=2), ["threads"])
    assert (found.confirmation, found.chosen) == (None, None)
    assert yaml.safe_load(found.preset.read_text()) is None
    assert "the defaults stay" in found.preset.read_text()
