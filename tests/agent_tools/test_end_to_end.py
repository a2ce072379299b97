"""One assistant's way through the workbench over stdio: benchmark, poll, record, document. Nothing stands in."""

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from agent_tools.measure.rungs import LADDERS
from tests.agent_tools.conftest import run_git

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
TINY = ["model=tiny", "dataloaders.num_workers=0", "batch_size=2"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty repository with three rendered receipts; trainer and templates are the installed ones."""
    run_git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "docs" / "ai_handbook").mkdir(parents=True)
    (tmp_path / ".gitignore").write_text("outputs/\n")
    run_git(tmp_path, "add", ".")
    run_git(tmp_path, "commit", "-q", "-m", "first")
    render = (
        "from pathlib import Path; from ocr.datasets.synthetic import render_dataset\n"
        "render_dataset(Path('outputs/receipts'), train=2, val=3, test=0)"
    )
    subprocess.run([sys.executable, "-c", render], cwd=tmp_path, check=True)
    return tmp_path


async def ask(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


async def ended(client: Client, job: str, seconds: float = 400) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while True:
        answer = await ask(client, "job_status", job=job)
        if answer["status"] not in ("starting", "running"):
            assert answer["status"] == "finished", answer
            return answer
        assert time.monotonic() < deadline, answer
        await anyio.sleep(0.5)


def test_a_benchmark_started_over_stdio_ends_as_numbers_in_a_document(root):
    async def run() -> None:
        arguments = ["-m", "agent_tools.cli", "--root", str(root), "serve"]
        async with Client(StdioServerParameters(command=sys.executable, args=arguments, cwd=REPOSITORY)) as client:
            job = await ask(
                client,
                "bench_run",
                ladder="demo",
                data="outputs/receipts",
                images=3,
                size=128,
                rounds=1,
                session="end-to-end",
                overrides=TINY,
            )
            done = await ended(client, job["job"])
            assert done["done"] == done["total"] == len(LADDERS["demo"])
            record = await ask(client, "record_show", record=done["result"]["record_id"])
            assert record["kind"] == "benchmark"
            assert len(record["table"]) == len(LADDERS["demo"]) + 1
            assert (await ask(client, "docs_render", records=[record["record_id"]]))["documents"] == []
            documents = done["result"]["documents"]
            text = (root / next(name for name in documents if name.endswith("-findings.md"))).read_text()
            assert record["record_id"] in text
            shown = set(re.findall(r"\d+\.\d+", text))
            for line in record["table"][1:]:
                warm = line.split(" | ")[2]
                assert any(_rounds_to(warm, number) for number in shown), (warm, text)
            assert (await ask(client, "docs_check"))["ok"]
            assert (await ask(client, "record_list"))["records"][0]["id"] == record["record_id"]
            status = await ask(client, "git_status", response_format="detailed")
            assert all(path.startswith(("logs/", "docs/")) for path in status["untracked"])

    anyio.run(run)


def _rounds_to(value: str, shown: str) -> bool:
    """Whether a document's number is the record's, to the digits that the document shows."""
    return abs(float(value) - float(shown)) <= 0.5 * 10 ** -len(shown.partition(".")[2]) + 0.0005


def test_a_training_started_as_a_job_ends_as_a_record_with_its_features_checked(root):
    async def run() -> None:
        arguments = ["-m", "agent_tools.cli", "--root", str(root), "serve"]
        limits = ["trainer.max_epochs=2", "trainer.limit_train_batches=1", "trainer.limit_val_batches=2"]
        overrides = ["dataset_base_path=outputs/receipts/", "image_size=[128,128]", *limits, *TINY]
        async with Client(StdioServerParameters(command=sys.executable, args=arguments, cwd=REPOSITORY)) as client:
            shown = await ask(
                client, "config_show", overrides=overrides, select="datasets.val_dataset.config.cache_config"
            )
            assert "cache_images: true" in shown["yaml"]
            done = await ended(client, (await ask(client, "train_run", overrides=overrides))["job"])
            record = await ask(client, "record_show", record=done["result"]["record_id"])
            assert record["kind"] == "train"
            assert (await ask(client, "features_check"))["passed"]
            stages = await ask(client, "profile_run", run="latest")
            assert stages["stages"]

    anyio.run(run)
