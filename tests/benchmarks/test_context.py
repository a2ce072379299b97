"""The benchmark of `collect_context.sh` grows a real clone of this repository."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import context

pytestmark = pytest.mark.skipif(
    not (context.ROOT / ".git").exists() or shutil.which("git") is None, reason="not a git repository"
)


@pytest.mark.slow
def test_it_prints_seconds_and_tokens_of_a_clone_of_the_asked_size(capsys: pytest.CaptureFixture[str]) -> None:
    tracked = len(context.git(context.ROOT, "ls-files").splitlines())
    context.main(["--records=60", f"--files={tracked + 150}", "--runs=1"])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["seconds"] > 0
    assert 0 < line["tokens"] <= 6000


def test_a_clone_has_so_many_records_and_files(tmp_path: Path) -> None:
    here = len(list(context.ROOT.glob("logs/*/records/*.json")))
    context.grown_clone(tmp_path / "clone", here + 3, 1500)
    assert len(list(tmp_path.glob("clone/logs/*/records/*.json"))) == here + 3
    assert len(context.git(tmp_path / "clone", "ls-files").splitlines()) == 1500
