"""Writing runs nothing that a repository names: a program is planted behind every door that writing opens."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from agent_tools.workspace.git.runner import GitError, Repository
from agent_tools.workspace.root import Root
from tests.agent_tools.workspace.git.test_branches import branch
from tests.agent_tools.workspace.git.test_restoring import restore
from tests.agent_tools.workspace.git.test_writing import commit

HOOKS = (
    *("applypatch-msg", "pre-applypatch", "post-applypatch", "pre-commit", "pre-merge-commit", "prepare-commit-msg"),
    *("commit-msg", "post-commit", "pre-rebase", "post-checkout", "post-merge", "pre-push", "pre-receive", "update"),
    *("proc-receive", "post-receive", "post-update", "reference-transaction", "push-to-checkout", "pre-auto-gc"),
    *("post-rewrite", "sendemail-validate", "fsmonitor-watchman", "post-index-change"),
)

PLANTS = {
    "fsmonitor": ([("core.fsmonitor", "{payload}")], ""),
    "clean filter": ([("filter.evil.clean", "{payload}")], "* filter=evil"),
    "smudge filter": ([("filter.evil.smudge", "{payload}")], "* filter=evil"),
    "process filter": ([("filter.evil.process", "{payload}")], "* filter=evil"),
    "required filter": ([("filter.evil.clean", "{payload}"), ("filter.evil.required", "true")], "* filter=evil"),
    "filter with = in its name": ([("filter.e=vil.clean", "{payload}")], "* filter=e=vil"),
    "signing": ([("commit.gpgSign", "true"), ("user.signingKey", "x"), ("gpg.program", "{payload}")], ""),
    "ssh signing": (
        [
            ("commit.gpgSign", "true"),
            ("gpg.format", "ssh"),
            ("gpg.ssh.program", "{payload}"),
            ("gpg.ssh.defaultKeyCommand", "{payload}"),
        ],
        "",
    ),
    "merge driver": (
        [("merge.evil.driver", "{payload}"), ("merge.default", "evil"), ("checkout.conflict", "diff3")],
        "* merge=evil",
    ),
    "diff drivers": (
        [("diff.external", "{payload}"), ("diff.evil.command", "{payload}"), ("diff.evil.textconv", "{payload}")],
        "* diff=evil",
    ),
    "editor": ([("core.editor", "{payload}"), ("sequence.editor", "{payload}"), ("commit.verbose", "true")], ""),
    "template": ([("commit.template", "{payload}"), ("commit.cleanup", "scissors")], ""),
    "trailer": ([("trailer.x.command", "{payload}"), ("trailer.x.cmd", "{payload}"), ("trailer.x.key", "X")], ""),
    "hooks path": ([("core.hooksPath", "{hooks}")], ""),
    "alias": ([(f"alias.{name}", "!{payload}") for name in ("switch", "apply", "update-index", "commit-tree")], ""),
    "pager": ([("core.pager", "{payload}"), ("pager.for-each-ref", "{payload}"), ("pager.diff", "true")], ""),
    "submodule": (
        [("submodule.inner.update", "!{payload}"), ("submodule.recurse", "true"), ("submodule.inner.url", "ext::x")],
        "",
    ),
    "gc": ([("gc.auto", "1"), ("gc.autoDetach", "false"), ("gc.recentObjectsHook", "{payload}")], ""),
}


@pytest.fixture
def planted(repository, inner, git, payload, tmp_path):
    """Two branches with other content, a submodule, hooks of every name; and a way to plant one more thing."""
    (repository / ".gitmodules").write_text('[submodule "inner"]\n\tpath = inner\n\turl = ./inner\n\tignore = none\n')
    (repository / "b.txt").write_text("b\n")
    git(repository, "-c", "advice.addEmbeddedRepo=false", "add", ".")
    git(repository, "commit", "-qm", "more")
    git(repository, "checkout", "-q", "-b", "side")
    (repository / "b.txt").write_text("side\n")
    (repository / "c.txt").write_text("side\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "side")
    git(repository, "checkout", "-q", "main")
    hooks = tmp_path / "hooks"
    for folder in (hooks, repository / ".git" / "hooks", inner / ".git" / "hooks"):
        folder.mkdir(exist_ok=True)
        for name in HOOKS:
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(payload)
    git(inner, "config", "filter.inner.clean", payload)
    git(inner, "config", "core.fsmonitor", payload)
    (inner / ".gitattributes").write_text("x filter=inner\n")
    (inner / "x").write_text("y\n")

    def plant(name: str) -> None:
        values, attribute = PLANTS[name]
        for key, value in values:
            git(repository, "config", key, value.format(payload=payload, hooks=hooks))
        (repository / ".git" / "info" / "attributes").write_text(f"{attribute}\n")

    return plant


def write_everything(folder: Path) -> list[str]:
    """Every way in which the tools write to a repository; what was refused is said."""
    said = []

    def attempt(step, *given, **named) -> None:
        try:
            step(folder, *given, **named)
        except GitError as error:
            said.append(str(error))

    (folder / "a.txt").write_text("changed\n")
    (folder / "new.txt").write_text("new\n")
    os.utime(folder / "a.txt", (1, 1))
    attempt(commit, "a.txt", "new.txt")
    attempt(branch, "other", start="HEAD")
    attempt(branch, "side")
    attempt(branch, "third", start="main")
    attempt(branch)
    (folder / "a.txt").write_text("changed again\n")
    attempt(restore, "a.txt")
    (folder / "a.txt").write_text("changed again\n")
    stage(folder, "a.txt")
    attempt(restore, "a.txt", staged=True)
    (folder / "inner" / "x").write_text("z\n")
    attempt(commit, "inner")
    attempt(commit, ".")
    return said


def stage(folder: Path, name: str) -> None:
    async def run() -> None:
        repository = await Repository.open(Root.at(folder))
        await repository.run("update-index", "--", name)

    anyio.run(run)


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_program_never_runs(repository, planted, marker, name):
    planted(name)
    marker.unlink(missing_ok=True)
    said = write_everything(repository)
    assert not marker.exists(), marker.read_text()
    needs_filter = name in ("smudge filter", "process filter", "required filter")
    unexpected = [text for text in said if "Nothing is changed in" not in text]
    assert all("needs the filter evil" in text for text in unexpected) if needs_filter else not unexpected


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("fsmonitor", "commit -qm x a.txt"),
        ("clean filter", "commit -qm x a.txt"),
        ("smudge filter", "switch side"),
        ("signing", "commit -qm x a.txt"),
        ("editor", "commit -q a.txt"),
        ("hooks path", "commit -qm x a.txt"),
        ("hooks path", "switch side"),
    ],
)
def test_the_same_plant_does_run_under_plain_git(repository, planted, marker, git, name, command):
    (repository / "a.txt").write_text("changed\n")
    git(repository, "config", "user.name", "x")
    planted(name)
    marker.unlink(missing_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(repository), "EMAIL": "u@x"}
    subprocess.run(["git", *command.split()], cwd=repository, env=environment, capture_output=True, check=False)
    assert marker.exists(), "the attack itself is broken, so the test above shows nothing"


def test_the_environment_of_the_caller_reaches_no_program(repository, payload, marker, monkeypatch, tmp_path):
    for name in ("GIT_EDITOR", "EDITOR", "VISUAL", "GIT_EXTERNAL_DIFF", "GIT_PAGER", "GIT_SSH", "GIT_ASKPASS"):
        monkeypatch.setenv(name, payload)
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.hooksPath")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(tmp_path))
    for hook in HOOKS:
        (tmp_path / hook).symlink_to(payload)
    (repository / "a.txt").write_text("changed\n")
    commit(repository, "a.txt")
    branch(repository, "other", start="HEAD")
    assert not marker.exists()
    assert not (tmp_path / "elsewhere").exists()


def test_a_work_tree_or_a_git_folder_outside_is_not_written_to(repository, git, tmp_path):
    thief, victim = tmp_path / "thief", tmp_path / "victim"
    for folder in (thief, victim):
        folder.mkdir()
        git(folder, "init", "-q")
    (victim / "x").write_text("x\n")
    git(thief, "config", "core.worktree", str(victim))
    for step, given in ((commit, ("x",)), (branch, ("y",)), (restore, ("x",))):
        with pytest.raises(GitError, match=r"core\.worktree leads outside"):
            step(thief, *given)
    with suppress(FileNotFoundError):
        (thief / ".git" / "config").unlink()
    (thief / ".git").rename(tmp_path / "moved")
    (thief / ".git").write_text(f"gitdir: {victim / '.git'}\n")
    for step, given in ((commit, ("x",)), (branch, ("y",)), (restore, ("x",))):
        with pytest.raises(GitError, match="leads outside of the root"):
            step(thief, *given)
    assert git(victim, "status", "--short") == "?? x\n"


def test_a_link_in_the_tree_is_not_followed_when_a_branch_is_switched_to(repository, git, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    git(repository, "checkout", "-q", "-b", "side")
    (repository / "d").mkdir()
    (repository / "d" / "x").write_text("from the repository\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "side")
    git(repository, "checkout", "-q", "main")
    (repository / "d").symlink_to(outside)
    with suppress(GitError):
        branch(repository, "side")
    assert list(outside.iterdir()) == []
