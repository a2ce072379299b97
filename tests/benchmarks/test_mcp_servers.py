"""The comparison with the reference git server, as far as it goes without it: ours runs, the rest is arithmetic."""

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import context, mcp_in_memory, mcp_servers
from benchmarks.harness import BenchmarkError
from benchmarks.stdio_client import StdioServer

ANSWERS = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}))
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "method": "roots/list"}))
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **ANSWER}), flush=True)
"""


def server(answer: dict[str, Any], tmp_path: Path) -> StdioServer:
    return StdioServer([sys.executable, "-c", f"ANSWER = {answer!r}\n{ANSWERS}"], tmp_path, {})


def test_the_client_passes_over_what_is_no_answer(tmp_path: Path) -> None:
    with server({"result": {"tools": [], "content": []}}, tmp_path) as one:
        assert one.tools == {"tools": [], "content": []}
        assert one.start_seconds > 0
        assert one.call("any", {})[0] > 0


def test_a_refusal_an_error_and_an_early_end_are_named(tmp_path: Path) -> None:
    with (
        server({"result": {"isError": True, "content": [{"text": "no"}]}}, tmp_path) as one,
        pytest.raises(BenchmarkError, match=r"git_status refused: .*no"),
    ):
        one.call("git_status", {})
    with pytest.raises(BenchmarkError, match=r"initialize was answered with .*-32601"):
        server({"error": {"code": -32601}}, tmp_path)
    with pytest.raises(BenchmarkError, match="ended"):
        StdioServer([sys.executable, "-c", "pass"], tmp_path, {})
    with pytest.raises(BenchmarkError, match="nowhere cannot be started"):
        StdioServer(["/nowhere"], tmp_path, {})


@pytest.mark.parametrize("options", [[], ["--python=/nowhere/python"], [f"--python={sys.executable}"]])
def test_without_the_reference_one_line_says_why_it_was_skipped(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    mcp_servers.main(options)
    assert "--setup DIR" in json.loads(capsys.readouterr().out)["skipped"]


def test_the_generated_repository_has_so_many_files_and_a_few_changes(tmp_path: Path) -> None:
    folder = mcp_servers.make_large(tmp_path / "large", 230)
    assert len(context.git(folder, "ls-files").splitlines()) == 230
    assert len(context.git(folder, "log", "--format=%H").splitlines()) == mcp_servers.COMMITS
    changes = context.git(folder, "status", "--porcelain").splitlines()
    assert sorted(line[:2] for line in changes) == [" M"] * mcp_servers.CHANGED + ["??"]


def test_our_server_answers_all_three_questions(tmp_path: Path) -> None:
    folder = mcp_servers.make_large(tmp_path / "large", 30)
    ours = mcp_servers.Arm("ours", Path(sys.executable))
    found = mcp_servers.round_of(ours, folder, calls=3)
    assert set(found) == {"start", "status", "diff", "log"}
    assert all(found[name]["p95_ms"] >= found[name]["p50_ms"] > 0 for name in ("status", "diff", "log"))
    assert found["diff"]["tokens"] > found["diff"]["text_tokens"] > 0
    beside = mcp_servers.beside_plain_git(ours, folder, 2, random.Random(0))
    assert beside["ratio"] == pytest.approx(beside["ours_ms"] / beside["git_ms"])


def test_servers_take_turns_in_a_stored_order_and_ratios_are_taken_round_by_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def figures(arm: mcp_servers.Arm, _: Path, calls: int) -> dict[str, dict[str, float]]:
        ran.append(arm.name)
        return {"status": {"p50_ms": len(ran) * calls}}

    monkeypatch.setattr(mcp_servers, "round_of", figures)
    monkeypatch.setattr(mcp_servers.Arm, "start", lambda arm, folder: server({"result": {}}, tmp_path))
    arms = [mcp_servers.Arm(name, Path()) for name in ("ours", "theirs")]
    rows, orders = mcp_servers.interleaved(arms, tmp_path, 6, 1, random.Random(0))
    assert [name for turn in orders for name in turn] == ran
    assert {tuple(turn) for turn in orders} == {("ours", "theirs"), ("theirs", "ours")}
    by_round = mcp_servers.ratios(rows)["status"]["rounds"]["p50_ms"]
    pairs = zip(rows["ours"], rows["theirs"], strict=True)
    assert by_round == [one["status"]["p50_ms"] / other["status"]["p50_ms"] for one, other in pairs]


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2), (0.95, 4), (1.0, 4), (0.01, 1)])
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert mcp_servers.percentile([4, 1, 3, 2], share) == expected


def test_a_call_in_memory_is_timed_for_each_tool(capsys: pytest.CaptureFixture[str]) -> None:
    mcp_in_memory.main(["--calls=5"])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert all(line[tool]["p95_ms"] >= line[tool]["p50_ms"] > 0 for tool in mcp_in_memory.TOOLS)
