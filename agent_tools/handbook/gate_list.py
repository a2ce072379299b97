"""The gates as plain data for the page that explains them: what each one asks, and which command measures it."""

from __future__ import annotations

from typing import Any

from agent_tools.records.gates import GATES, From, FromComparison, FromContrast, FromFact, Gate

BESIDE_BENCH_GATES = {
    "benchmarks.doctr": " --setup DIR --rounds 6",
    "benchmarks.mcp_servers": " --setup DIR",
    "benchmarks.mcp_in_memory": "",
}
"""Benchmarks that `bench gates` does not run, with their options; most need an environment of another project."""


def gate_facts() -> list[dict[str, Any]]:
    """Every gate: title, what is asked, the aim ('' for none), and per source its figure and the command for it."""
    return [_facts(gate) for gate in GATES]


def _facts(gate: Gate) -> dict[str, Any]:
    return {
        "title": gate.title,
        "asked": gate.asked,
        "aim": f">= {gate.aim:g}" if gate.aim is not None else "",
        "sources": [{"figure": _figure(source), "command": command(source)} for source in gate.sources],
    }


def _figure(source: From) -> str:
    """The figure in words; what is a name stands in code marks."""
    if isinstance(source, FromContrast):
        epoch = "training" if source.phase == "train" else "validation"
        return f"ratio `{source.contrast}` of the design `{source.experiment}`, over {epoch} epochs"
    if isinstance(source, FromComparison):
        first, second = source.arms
        held = [f"`{name}` is zero in every sample" for name in source.zero]
        held += [f"`{name}` is at least {least:g} in every sample" for name, least in source.least]
        return "; ".join([f"ratio of `--arm={first}` to `--arm={second}` of `{source.module}`", *held])
    return f"figure {' or '.join(f'`{name}`' for name in source.figures)} of `{source.module}`"


def command(source: From) -> str:
    """The command that makes a record with this figure."""
    if isinstance(source, FromFact) and source.module in BESIDE_BENCH_GATES:
        return f"agent-tools bench fact 'python -m {source.module}{BESIDE_BENCH_GATES[source.module]}' --session NAME"
    if isinstance(source, FromContrast):
        step = source.experiment + ("_train" if source.phase == "train" else "")
    else:
        step = source.module.rpartition(".")[2]
    return f"agent-tools bench gates --only {step} --session NAME"
