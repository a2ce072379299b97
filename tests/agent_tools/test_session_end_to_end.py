"""A session and the one after it, as an assistant has them: over stdio, on a clone, with commits in between."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from agent_tools.handbook import render
from agent_tools.handbook.check import check_documents
from tests.agent_tools.conftest import run_git
from tests.agent_tools.handbook import factory
from tests.agent_tools.small_projects import REPOSITORY, copy_context_script, write_tested_value


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    factory.project(folder)
    render.render_all(folder)
    copy_context_script(folder)
    write_tested_value(folder)
    (folder / "README.md").write_text("# Receipts\n\nFinds text.\n")
    run_git(folder, "init", "-q", "-b", "main")
    commit(folder, "feat: first")
    return folder


def commit(folder: Path, message: str) -> str:
    run_git(folder, "add", "--all")
    run_git(folder, "commit", "-q", "-m", message)
    return run_git(folder, "rev-parse", "HEAD").strip()


def server(folder: Path) -> StdioServerParameters:
    arguments = ["-m", "agent_tools.cli", "--root", str(folder), "serve"]
    return StdioServerParameters(command=sys.executable, args=arguments, cwd=REPOSITORY)


async def ask(client: Client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


@pytest.mark.slow
def test_what_one_session_claims_over_stdio_the_next_one_verifies_in_a_clone(project, tmp_path):
    async def first() -> dict[str, Any]:
        async with Client(server(project)) as client:
            begun = await ask(client, "session_start", name="first", goal="a right value")
            assert begun["claims"] == []
            await ask(
                client, "session_note", kind="claim", text="the value is right", command="pytest test_value.py",
                files=["value.py"],
            )  # fmt: skip
            await ask(client, "session_note", kind="done", text="no tabs", file="value.py", lacks="\t")
            refused = await client.call_tool("session_note", {"kind": "claim", "text": "x", "command": "rm -rf ."})
            assert refused.is_error
            await ask(client, "session_note", kind="failed", text="four", why="the test says three")
            await ask(client, "session_note", kind="next", text="try five")
            return await ask(client, "session_handover")

    async def second(folder: Path) -> dict[str, Any]:
        async with Client(server(folder)) as client:
            return await ask(client, "session_start", name="second")

    handed = anyio.run(first)
    assert check_documents(project) == []
    assert f"@{handed['handover']}" in handed["prompt"]
    commit(project, handed["message"])
    (project / "value.py").write_text("VALUE = 4\n")
    broken = commit(project, "feat: a better value")
    run_git(tmp_path, "clone", "-q", str(project), "clone")
    begun = anyio.run(second, tmp_path / "clone")
    failed, passed = begun["claims"]
    assert failed.startswith("FAIL: the value is right")
    assert f"{broken[:10]} feat: a better value" in failed
    assert passed.startswith("pass: no tabs")
    assert "## Recent Changes" in begun["context"]
    command = [
        sys.executable,
        "-m",
        "agent_tools.cli",
        "--root",
        str(tmp_path / "clone"),
        "session",
        "checklist",
        "before",
    ]
    before = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert before.returncode == 0, before.stdout
    assert before.stdout.count("pass: ") == 5
