"""A comparison asked for over stdio outlives its server, and the real trainer is compared on rendered receipts."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from agent_tools.records.store import RecordStore
from tests.agent_tools.conftest import run_git
from tests.agent_tools.measure.project import build_project, commit, write_package

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).parents[2]


async def ask(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


def server(root: Path) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable, args=["-m", "agent_tools.cli", "--root", str(root), "serve"], cwd=REPOSITORY
    )


def kill_servers(root: Path) -> int:
    """End every server of this repository with signal 9; return how many there were."""
    killed = 0
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if str(root) in words and words[-1] == "serve":
                process.kill()
                killed += 1
        except psutil.Error:
            continue
    return killed


def test_a_comparison_outlives_a_server_that_is_killed_and_a_new_one_tells_its_verdict(tmp_path: Path) -> None:
    root = build_project(tmp_path / "project")
    write_package(root, seconds=1.2)
    commit(root, "refactor: tidy up")
    asked = {"a": "HEAD~1", "b": "HEAD", "command": "python bench.py", "accuracy": "recall", "foreign_limit": 1.0}

    async def begin(found: dict[str, str]) -> None:
        async with Client(server(root)) as client:
            found["job"] = (await ask(client, "bench_compare", rounds=8, **asked))["job"]
            assert kill_servers(root) == 1

    async def end(job: str) -> dict[str, Any]:
        async with Client(server(root)) as client:
            deadline = time.monotonic() + 300
            while (answer := await ask(client, "job_status", job=job))["status"] in ("queued", "starting", "running"):
                assert time.monotonic() < deadline, answer
                await anyio.sleep(0.3)
            return answer

    found: dict[str, str] = {}
    # What the client says of a server that is killed under it is not ours.
    with contextlib.suppress(Exception):
        anyio.run(begin, found)
    assert found
    done = anyio.run(end, found["job"])
    assert done["status"] == "finished", done
    record = RecordStore(root).load(done["result"]["record_id"])
    assert record.comparison is not None
    assert record.comparison.outcome.verdict == "slower"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """This repository as it is, uncommitted files included, as a repository of its own with one commit."""
    listing = run_git(REPOSITORY, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    target = tmp_path / "copy"
    for name in filter(None, listing.split("\0")):
        source = REPOSITORY / name
        if source.is_file() and not name.startswith("logs/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(source.read_bytes())
    run_git(target, "init", "-q", "-b", "main")
    run_git(target, "add", "--all")
    run_git(target, "commit", "-q", "-m", "first")
    return target


def test_the_trainer_of_two_revisions_is_compared_each_from_its_own_tree(copy: Path) -> None:
    module = copy / "ocr" / "lightning_modules" / "ocr_pl.py"
    before = module.read_text()
    marker = "    def validation_step("
    head, _, tail = before.partition(marker)
    signature, _, body = tail.partition(":\n")
    module.write_text(f"{head}{marker}{signature}:\n        __import__('time').sleep(0.5)\n{body}")
    run_git(copy, "commit", "-qam", "refactor: a slow step")
    render = (
        "from pathlib import Path; from ocr.datasets.synthetic import render_dataset\n"
        "render_dataset(Path('outputs/receipts'), train=2, val=3, test=0)"
    )
    subprocess.run([sys.executable, "-c", render], cwd=copy, check=True)
    words = [sys.executable, "-m", "agent_tools.cli", "--root", str(copy), "bench", "compare", "HEAD~1", "HEAD"]
    weights = "ocr/models/pretrained/tiny-synthetic.ckpt"
    options = [
        "--data=outputs/receipts",
        "--images=3",
        "--size=128",
        "--passes=2",
        "--rounds=6",
        f"--checkpoint={weights}",
    ]
    trained = ["model=tiny", "dataloaders.num_workers=0", "batch_size=1"]
    done = subprocess.run(
        [*words, *options, "--foreign-limit=1", "--json", "--", *trained], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    record = RecordStore(copy).load(json.loads(done.stdout.splitlines()[-1])["record_id"])
    comparison = record.comparison
    assert comparison is not None
    assert comparison.outcome.verdict == "slower"
    assert comparison.files == ["M ocr/lightning_modules/ocr_pl.py"]
    assert comparison.outcome.outputs_equal
    warm = comparison.outcome.metrics[0]
    assert warm.metric == "warm_seconds"
    # Three images in batches of one: three sleeps of half a second in each warm epoch.
    assert warm.b - warm.a == pytest.approx(1.5, abs=0.4)
    assert record.dataset is not None
    assert record.dataset.images == 3
    assert str(copy) not in record.model_dump_json()
