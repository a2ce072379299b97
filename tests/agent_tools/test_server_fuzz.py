"""Thousands of plausible, broken and hostile calls of every tool: each is answered in words, inside of the root.

`FUZZ_CALLS=10000` makes more of them. A call is made from its number alone: to see one that failed again, call
`arguments_for(schema, "SHARE:NUMBER")`.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import jsonschema
import pytest
from mcp.client import Client

from agent_tools import catalog
from agent_tools.results import CHARACTER_LIMIT
from agent_tools.server import WorkbenchServer
from agent_tools.workspace.root import Root
from tests.agent_tools.conftest import run_git
from tests.agent_tools.hostile_arguments import arguments_for

CALLS = int(os.environ.get("FUZZ_CALLS", "1500"))
SHARES = 2
"""One for each generation of the protocol."""
SLOWEST_SECONDS = 150.0
SECONDS_OF_A_TOOL = 3.0 * max(1.0, CALLS / 1500)
"""In one share; a tool that has taken more, gets only calls that it has to refuse."""
ERROR_LIMIT = 3000
SECRET = "the-secret-outside-of-the-root"
LEAKS = ("Traceback", 'File "', "pydantic", "site-packages", "failed inside")
"""What no error says; an answer may quote a program's traceback."""


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with something of everything in `root`, a neighbour with a secret, and few programs."""
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "outputs" / "synthetic" / "jsons").mkdir(parents=True)
    for name, text in FILES.items():
        (root / name).write_text(text)
    with sqlite3.connect(root / "table.sqlite") as database:
        database.execute("CREATE TABLE t (a)")
    database.close()
    (root / "link_out").symlink_to(tmp_path / "outside")
    run_git(root, "init", "-q", "-b", "main")
    for number in range(2):
        (root / "a.txt").write_text(f"{number}\n" * 30)
        run_git(root, "add", ".")
        run_git(root, "commit", "-q", "-m", f"feat: {number}")
    (root / "a.txt").write_text("changed\n")
    for name in ("outside", "home", "current", "temporary", "programs"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "secret.txt").write_text(SECRET)
    for program in ("git", "sh"):
        (tmp_path / "programs" / program).symlink_to(shutil.which(program) or program)
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    # The trainer imports matplotlib, which would make its list of fonts anew in a fresh home, for half a minute.
    monkeypatch.setenv("MPLCONFIGDIR", str(Path.home() / ".cache" / "matplotlib"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path / "current")
    return root


FILES = {
    "a.txt": "one\n",
    "README.md": "# Sandbox\n\nText with `code`.\n",
    "folder/b.py": 'def value(x: int) -> int:\n    """Return it."""\n    return x\n',
    "folder/test_b.py": "def test_fuzz():\n    assert True\n",
    # Jobs go to a SLURM that is not there: one that is started is refused, so that no trainer runs.
    "pyproject.toml": '[tool.agent-tools]\njobs = "slurm"\n',
    ".gitignore": "outputs/\n",
    "page.pdf": "%PDF-1.4 broken",
    "image.png": "no picture",
    "notes.ipynb": '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
    "outputs/synthetic/jsons/val.json": '{"images": {}}',
}


def outside_of(root: Path) -> dict[str, tuple[int, bytes]]:
    """Everything beside the root, with times and contents."""
    found = {}
    for path in root.parent.rglob("*"):
        # The trainer's torch makes an empty folder for its compiler in whatever folder for temporary files it has.
        if path.is_relative_to(root) or path.parent == root.parent or path.name.startswith("torchinductor_"):
            continue
        # A job that is ended before it listens to signals leaves its own, empty folder for temporary files.
        if path.parent.name == "temporary" and path.name.startswith("agent-tools-") and not any(path.iterdir()):
            continue
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path.relative_to(root.parent))] = (path.lstat().st_mtime_ns, data)
    return found


class Judge:
    """Calls tools and notes whatever an answer may not be."""

    def __init__(self, tools: list[dict[str, Any]], seed: str) -> None:
        self.tools = tools
        self.seed = seed
        self.seconds: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.found: list[str] = []

    async def call(self, client: Client, number: int) -> None:
        """Make call `number` and judge its answer."""
        tool = self.tools[number % len(self.tools)]
        name, seed = tool["name"], f"{self.seed}:{number}"
        arguments = arguments_for(tool["inputSchema"], seed, broken=self.seconds[name] > SECONDS_OF_A_TOOL)
        begun = time.perf_counter()
        result: Any = None
        try:
            with anyio.move_on_after(SLOWEST_SECONDS):
                result = await client.call_tool(name, arguments)
        except Exception as error:  # noqa: BLE001 - whatever a client sees that is no answer is a finding
            problems = [f"no answer but {type(error).__name__}: {str(error)[:200]}"]
        else:
            problems = self._problems(tool, result)
        self.seconds[name] += time.perf_counter() - begun
        self.found += [f"{name} {seed} {json.dumps(arguments)[:300]}: {problem}" for problem in problems]

    def _problems(self, tool: dict[str, Any], result: Any) -> list[str]:
        if result is None:
            return [f"no answer in {SLOWEST_SECONDS:.0f} s"]
        self.answered["refused" if result.is_error else "done"] += 1
        texts = [part.text for part in result.content]
        structured = json.dumps(result.structured_content, ensure_ascii=False) if result.structured_content else ""
        everything = "".join([*texts, structured])
        unsayable = (SECRET, *LEAKS) if result.is_error else (SECRET,)
        problems = [f"leaks {leak!r}: {texts[0][:300]}" for leak in unsayable if leak in everything]
        if max(map(len, [*texts, structured])) > CHARACTER_LIMIT:
            problems.append(f"too long: {len(structured)} and {len(texts[0])} characters")
        if result.is_error:
            return problems + _problems_of_sentence(texts)
        for error in jsonschema.Draft202012Validator(tool["outputSchema"]).iter_errors(result.structured_content):
            problems.append(f"not what is announced: {error.message[:200]}")
        return problems


def _problems_of_sentence(texts: list[str]) -> list[str]:
    said = texts[0].strip() if len(texts) == 1 else ""
    # The last words may be those of a program, quoted.
    if not said or said[-1] not in ".?!\"')" or " " not in said:
        return [f"no sentence: {said[:200]!r}"]
    return [f"an error of {len(said)} characters: {said[:100]}"] if len(said) > ERROR_LIMIT else []


@pytest.mark.timeout(max(300, CALLS))
@pytest.mark.parametrize("share", range(SHARES))
def test_every_call_is_answered_in_words_and_inside_of_the_root(share, sandbox):
    before = outside_of(sandbox)

    async def run() -> Judge:
        async with Client(WorkbenchServer(Root.at(sandbox), ["all"]), mode="legacy" if share % 2 else "auto") as client:
            listed = (await client.list_tools()).tools
            tools = [tool.model_dump(by_alias=True, mode="json", exclude_none=True) for tool in listed]
            judge = Judge(tools, str(share))
            for number in range(CALLS // SHARES):
                await judge.call(client, number)
            return judge

    judge = anyio.run(run)
    logging.getLogger(__name__).info("%s, slowest %s", judge.answered, judge.seconds.most_common(8))
    assert not judge.found, "\n".join([f"{len(judge.found)} findings", *judge.found[:40]])
    assert outside_of(sandbox) == before
    assert {tool["name"] for tool in judge.tools} == {tool.name for tool in catalog.CATALOG if tool.surface == "mcp"}
    assert judge.answered["done"] > CALLS / SHARES / 10, judge.answered
