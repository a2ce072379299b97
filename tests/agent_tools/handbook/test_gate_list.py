"""The page of gates names commands that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from agent_tools.handbook.gate_list import BESIDE_BENCH_GATES, gate_facts
from agent_tools.records.gates import GATES
from agent_tools.workflows.gates import STEPS, chosen_steps

REPOSITORY = Path(__file__).resolve().parents[3]


def commands() -> list[list[str]]:
    return [shlex.split(source["command"]) for gate in gate_facts() for source in gate["sources"]]


def test_every_gate_has_a_figure_and_a_command():
    assert [gate["title"] for gate in gate_facts()] == [gate.title for gate in GATES]
    assert all(gate["sources"] for gate in gate_facts())


def test_every_step_that_a_command_names_is_one_of_bench_gates():
    named = {words[words.index("--only") + 1] for words in commands() if "--only" in words}
    assert len(chosen_steps(sorted(named))) == len(named)
    assert {"gates", "limit", "limit_train", "memory", "parity", "loader"} <= named


def test_what_bench_gates_cannot_measure_is_a_benchmark_that_it_has_no_step_for():
    steps = {step.name for step in STEPS}
    assert all(module.rpartition(".")[2] not in steps for module in BESIDE_BENCH_GATES)
    others = [words for words in commands() if "--only" not in words]
    modules = {found[1] for words in others for word in words if (found := re.match(r"python -m (\S+)", word))}
    assert modules == set(BESIDE_BENCH_GATES)
    assert all((REPOSITORY / f"{module.replace('.', '/')}.py").is_file() for module in modules)
