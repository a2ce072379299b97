"""The installed hooks: a commit whose documents do not agree with their records is stopped, the index follows it."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from agent_tools.catalog import tool_facts
from agent_tools.handbook import render
from agent_tools.workspace.git import hooks
from agent_tools.workspace.root import Root
from agent_tools.workspace.search.database import FILE
from tests.agent_tools.handbook import factory

REPOSITORY = Path(__file__).resolve().parents[4]
IDENTITY = ["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]


def git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", *IDENTITY, *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed project with the workbench in it, its records and its rendered pages; no configuration of a user."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for name in ("agent_tools", "templates", "ocr", "configs", "runners"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.ckpt"))
    for name in ("pyproject.toml", ".gitignore"):
        shutil.copy2(REPOSITORY / name, tmp_path)
    factory.store(tmp_path / "logs/2026-11-21_main-job/records", factory.trained())
    render.render_all(tmp_path, {"tools": tool_facts()})
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    assert git(tmp_path, "commit", "--quiet", "-m", "feat: start").returncode == 0
    return tmp_path


def install(root: Path) -> None:
    asyncio.run(hooks.hooks_install(Root.at(root)))


@pytest.mark.slow
def test_a_commit_of_a_forged_number_is_refused_and_a_true_one_passes(repository: Path) -> None:
    install(repository)
    install(repository)
    page = next((repository / "logs").glob("*/*-findings.md"))
    text = page.read_text()
    page.write_text(text.replace("2.00x", "3.00x"))
    refused = git(repository, "commit", "-am", "docs: better numbers")
    assert refused.returncode == 1
    assert "was edited by hand" in refused.stdout + refused.stderr
    assert "agent-tools docs render" in refused.stderr
    page.write_text(text)
    (repository / "new.txt").write_text("x\n")
    git(repository, "add", "new.txt")
    passed = git(repository, "commit", "-m", "feat: true")
    assert passed.returncode == 0, passed.stdout + passed.stderr


@pytest.mark.slow
def test_what_is_committed_is_checked_and_not_what_lies_around(repository: Path) -> None:
    install(repository)
    page = next((repository / "logs").glob("*/*-findings.md"))
    text = page.read_text()
    page.write_text(text.replace("2.00x", "3.00x"))
    git(repository, "add", "--all")
    page.write_text(text)
    assert git(repository, "commit", "-m", "docs: staged forgery").returncode == 1
    git(repository, "reset", "--quiet")
    page.write_text(text.replace("2.00x", "3.00x"))
    (repository / "new.txt").write_text("x\n")
    git(repository, "add", "new.txt")
    passed = git(repository, "commit", "-m", "feat: the forgery is not part of it")
    assert passed.returncode == 0, passed.stdout + passed.stderr


def test_a_hook_of_somebody_else_stays(repository: Path) -> None:
    hook = repository / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho mine\n")
    with pytest.raises(hooks.HookError, match="another pre-commit hook"):
        install(repository)
    assert hook.read_text() == "#!/bin/sh\necho mine\n"


def test_a_link_in_the_hooks_place_is_not_followed(repository: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.sh"
    target.write_text(hooks.MARK)
    hook = repository / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.symlink_to(target)
    with pytest.raises(hooks.HookError, match="another pre-commit hook"):
        install(repository)
    assert target.read_text() == hooks.MARK


def test_a_repository_that_keeps_its_hooks_elsewhere_is_refused_with_the_way_out(repository: Path) -> None:
    git(repository, "config", "core.hooksPath", ".husky")
    with pytest.raises(hooks.HookError, match=r"\.husky .*docs check"):
        install(repository)
    assert not (repository / ".git/hooks/pre-commit").exists()


def wait_for_units(root: Path, name: str, seconds: float = 60) -> bool:
    """Whether the index has a unit of this name before the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(sqlite3.Error), closing(sqlite3.connect(root / FILE)) as index:
            if index.execute("select count(*) from units where name = ?", (name,)).fetchone()[0]:
                return True
        time.sleep(0.1)
    return False


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository with only the hook that runs after a commit, which takes this program."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".git/hooks").mkdir(exist_ok=True)
    hooks._install(tmp_path / ".git/hooks/post-commit")
    (tmp_path / "a.py").write_text("def zebra(): pass\n")
    git(tmp_path, "add", "--all")
    return tmp_path


@pytest.mark.slow
def test_after_a_commit_the_index_follows_in_the_background(committed: Path) -> None:
    assert git(committed, "commit", "--quiet", "-m", "feat: start").returncode == 0
    assert not (committed / FILE).exists(), "the commit waited for the index"
    assert wait_for_units(committed, "zebra")
    assert git(committed, "status", "--porcelain").stdout == ""


def test_a_commit_does_not_wait_for_what_runs_after_it(committed: Path) -> None:
    hook, begun, go, done = (committed / ".git" / name for name in ("hooks/post-commit", "begun", "go", "done"))
    os.mkfifo(go)
    work = f"touch {begun}; cat {go}; touch {done}"
    hook.write_text(re.sub(r"exec nohup .*", f"exec nohup sh -c '{work}'", hook.read_text()))
    assert git(committed, "commit", "--quiet", "-m", "feat: start").returncode == 0
    assert not done.exists()
    go.write_text("go")
    deadline = time.monotonic() + 30
    while not done.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert done.exists()


@pytest.mark.parametrize("broken", ["gone", "failing"])
def test_a_commit_succeeds_whatever_becomes_of_the_index(committed: Path, broken: str) -> None:
    hook = committed / ".git/hooks/post-commit"
    python = shlex.quote(sys.executable)
    hook.write_text(hook.read_text().replace(python, "/nonexistent" if broken == "gone" else shutil.which("false")))
    done = git(committed, "commit", "--quiet", "-m", "feat: start")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_hook_of_somebody_else_after_a_commit_stays_and_nothing_is_installed(committed: Path) -> None:
    hook = committed / ".git/hooks/post-commit"
    hook.write_text("#!/bin/sh\necho mine\n")
    with pytest.raises(hooks.HookError, match="another post-commit hook; add the line `agent-tools index refresh`"):
        install(committed)
    assert not (committed / ".git/hooks/pre-commit").exists()
    assert hook.read_text() == "#!/bin/sh\necho mine\n"


def test_both_hooks_are_installed_and_said(committed: Path) -> None:
    installed = asyncio.run(hooks.hooks_install(Root.at(committed)))
    assert installed.hooks == ["pre-commit", "post-commit"]
    for name in installed.hooks:
        assert os.access(committed / ".git/hooks" / name, os.X_OK)
        assert f"{name}: " in installed.summary()
