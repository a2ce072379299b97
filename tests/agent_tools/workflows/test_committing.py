"""git_commit: who commits, with which message, and with documents that agree with their records."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from agent_tools.catalog import tool_facts
from agent_tools.handbook import render
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.store import RecordNotFound
from agent_tools.workflows import committing
from agent_tools.workflows.commit_messages import MessageError, message_problem
from agent_tools.workflows.committing import CommitRefused, GitCommitted, git_commit
from agent_tools.workspace.git.hooks import MARK
from agent_tools.workspace.git.runner import GitError
from agent_tools.workspace.root import Root
from tests.agent_tools.conftest import run_git
from tests.agent_tools.handbook import factory

REPOSITORY = Path(__file__).resolve().parents[3]
DEFAULTS = {"type": "feat", "summary": "change a file", "why": ("because",)}


@pytest.fixture(autouse=True)
def _user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with a configuration of their own, and nothing in the environment."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\n\tname = Ada\n\temail = ada@example.com\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))


def commit(folder: Path, *paths: str, **arguments) -> GitCommitted:
    async def call() -> GitCommitted:
        return await git_commit(Root.at(folder), paths=paths, **{**DEFAULTS, **arguments})

    return anyio.run(call)


def refused(folder: Path, error: type[WorkbenchError], said: str, *paths: str, **arguments) -> str:
    before = (run_git(folder, "log", "--format=%H"), run_git(folder, "status", "--short"))
    with pytest.raises(error, match=said) as refusal:
        commit(folder, *paths, **arguments)
    assert (run_git(folder, "log", "--format=%H"), run_git(folder, "status", "--short")) == before
    return str(refusal.value)


@pytest.fixture
def changed(repository: Path) -> Path:
    (repository / "a.txt").write_text("changed\n")
    return repository


# --- who and with which message ----------------------------------------------------------------------------------


def test_the_answer_names_commit_branch_and_files(changed, git):
    (changed / "new.txt").write_text("new\n")
    answer = commit(changed, ".")
    assert answer.commit == git(changed, "rev-parse", "main").strip()
    assert answer.files == ["M a.txt", "A new.txt"]
    assert answer.note == "on main: 2 files"
    assert answer.untrusted


def test_the_message_is_the_structured_one(changed, git):
    commit(changed, "a.txt", type="fix(cache)!", summary=" one\n line ", why=("- first ", "second\nline", " "))
    message = git(changed, "show", "-s", "--format=%B")
    assert message == "fix(cache)!: one line\n\n- first\n- second line\n\nRecords: none\nFindings: none\n\n"
    assert message_problem(message) == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"summary": " "}, "its first line is not `type: summary`"),
        ({"type": "Feature"}, "its first line is not `type: summary`"),
        ({"type": "feat\nx"}, "its first line is not `type: summary`"),
        ({"why": ()}, "no bullets that say what and why"),
        ({"why": (" ", "\n")}, "no bullets that say what and why"),
        ({"summary": "x" * 120}, "its first line has 126 characters, and 100 are allowed"),
        ({"summary": "a\x1b[31mred"}, "unprintable characters"),
        ({"why": ("zero\u200bwidth",)}, "unprintable characters"),
        ({"why": ("\udc80",)}, "unprintable characters"),
    ],
)
def test_what_makes_no_structured_message_is_refused_with_what_is_missing(changed, arguments, said):
    text = refused(changed, MessageError, said, "a.txt", **arguments)
    assert "give a type such as feat or fix, a summary, and why" in text


def test_records_are_named_with_their_findings_and_the_ratio_that_they_decided(changed, git):
    record = factory.trained()
    factory.store(changed / "logs/2026-11-21_main-job/records", record)
    render.render_all(changed, {"tools": tool_facts()})
    commit(changed, ".", records=(record.id,))
    subject, *_, records, findings = git(changed, "show", "-s", "--format=%B").rstrip().split("\n")
    assert subject.startswith("feat: change a file")
    assert records == f"Records: {record.id}"
    assert findings.startswith("Findings: logs/2026-11-21_main-job/")
    assert (changed / findings.removeprefix("Findings: ")).is_file()
    (changed / "a.txt").write_text("again\n")
    commit(changed, "a.txt", records=(record.id,), findings=("a.txt",))
    assert git(changed, "show", "-s", "--format=%B").rstrip().endswith("\nFindings: a.txt")
    (changed / "a.txt").write_text("and again\n")
    near = record.id[:-1] + ("0" if record.id[-1] != "0" else "1")
    refused(changed, RecordNotFound, record.id, "a.txt", records=(near,))
    refused(changed, WorkbenchError, "does not exist", "a.txt", findings=("nowhere.md",))


def test_the_author_is_the_user_of_their_own_configuration_or_environment(changed, git, monkeypatch):
    commit(changed, "a.txt")
    assert git(changed, "show", "-s", "--format=%an <%ae> %cn") == "Ada <ada@example.com> Ada\n"
    git(changed, "config", "user.name", "Local")
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Committer")
    (changed / "a.txt").write_text("again\n")
    commit(changed, "a.txt")
    assert git(changed, "show", "-s", "--format=%an <%ae> %cn") == "Local <ada@example.com> Committer\n"


def test_without_a_name_or_an_address_the_two_commands_are_named(changed, tmp_path):
    (tmp_path / "home" / ".gitconfig").write_text("[user]\n\tname = Ada\n")
    said = refused(changed, GitError, "git does not know who commits", "a.txt")
    assert "git config --global user.name" in said
    assert "git config --global user.email" in said


def test_the_search_index_knows_what_was_committed(changed):
    (changed / "zebra.py").write_text("def count_zebras():\n    '''Count them.'''\n")
    assert "index" not in commit(changed, ".").note
    with sqlite3.connect(f"file:{changed / 'outputs/index/code.sqlite'}?mode=ro", uri=True) as index:
        paths = {path for (path,) in index.execute("select path from files")}
    index.close()
    assert "zebra.py" in paths


def test_an_index_that_cannot_be_written_leaves_the_commit_and_is_said_so(changed, git):
    (changed / "outputs").mkdir()
    (changed / "outputs/index").write_text("in the way")
    answer = commit(changed, "a.txt")
    assert git(changed, "rev-parse", "HEAD").strip() == answer.commit
    assert "the search index was not refreshed" in answer.note


def test_what_plain_git_would_have_run_is_named(changed, git):
    hooks = changed / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name, text in (("pre-commit", f"#!/bin/sh\n{MARK}\nexit 1\n"), ("commit-msg", "#!/bin/sh\nexit 1\n")):
        (hooks / name).write_text(text)
        (hooks / name).chmod(0o755)
    (hooks / "post-commit").write_text("not executable\n")
    (changed / ".gitattributes").write_text("*.txt filter=other\n")
    git(changed, "config", "commit.gpgSign", "true")
    note = commit(changed, "a.txt").note
    assert "hooks of this repository that were not run: commit-msg" in note
    assert "pre-commit" not in note
    assert "post-commit" not in note
    assert "committed as they are, without their filter: 'a.txt'" in note
    assert "not signed, though commit.gpgSign is set" in note
    git(changed, "config", "core.hooksPath", "own")
    (changed / "own").mkdir()
    shutil.copy2(hooks / "commit-msg", changed / "own" / "pre-commit")
    (changed / "a.txt").write_text("again\n")
    assert "not run: pre-commit" in commit(changed, "a.txt").note


# --- documents ---------------------------------------------------------------------------------------------------


@pytest.fixture
def documented(repository: Path, git) -> Path:
    """Records and their documents, committed; no program of its own."""
    factory.store(repository / "logs/2026-11-21_main-job/records", factory.trained())
    render.render_all(repository, {"tools": tool_facts()})
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "documents")
    return repository


def findings_of(folder: Path) -> Path:
    return next((folder / "logs").glob("*/*-findings.md"))


def test_a_document_that_would_be_stale_is_refused_and_a_fresh_one_is_committed(documented):
    page = findings_of(documented)
    text = page.read_text()
    page.write_text(text.replace("2.00x", "3.00x"))
    said = refused(documented, CommitRefused, "would not agree with their records, so nothing was committed", "logs")
    assert f"{page.relative_to(documented)}: edited:" in said
    assert "Call docs_render, add the documents to paths, and call again." in said
    page.write_text(text)
    (documented / "a.txt").write_text("changed\n")
    assert commit(documented, ".").note == "on main: 1 files"


def test_what_would_be_committed_is_checked_and_not_what_lies_around(documented, git):
    page = findings_of(documented)
    text = page.read_text()
    page.write_text(text.replace("2.00x", "3.00x"))
    (documented / "a.txt").write_text("changed\n")
    commit(documented, "a.txt")
    git(documented, "add", "--all")
    (documented / "a.txt").write_text("again\n")
    commit(documented, "a.txt")
    page.unlink()
    refused(documented, CommitRefused, "is missing", "logs")


def test_a_repository_without_our_documents_is_not_checked(changed, monkeypatch):
    monkeypatch.setattr(committing, "CHECK_SECONDS", 0.0)
    (changed / "logs" / "app").mkdir(parents=True)
    (changed / "logs" / "app" / "x.log").write_text("x\n")
    (changed / "README.md").write_text("See `docs/nowhere.md`.\n")
    assert commit(changed, ".").note == "on main: 3 files"


def test_a_check_that_does_not_end_is_a_sentence(documented, monkeypatch):
    monkeypatch.setattr(committing, "CHECK_SECONDS", 0.05)
    (documented / "a.txt").write_text("changed\n")
    refused(documented, CommitRefused, r"could not be checked \(it took over", "a.txt")


def test_the_program_of_another_repository_is_never_run(documented, git, tmp_path):
    marker = tmp_path / "marker"
    (documented / "agent_tools").mkdir()
    for name in ("agent_tools/__init__.py", "agent_tools/cli.py", "json.py", "sitecustomize.py"):
        (documented / name).write_text(f"open({str(marker)!r}, 'w')\n")
    note = commit(documented, ".").note
    assert "the documents were not checked: this repository has an agent_tools of its own" in note
    shutil.rmtree(documented / "agent_tools")
    assert "not checked" not in commit(documented, "agent_tools").note
    assert not marker.exists()


@pytest.mark.slow
def test_the_program_that_is_committed_checks_the_documents_that_it_makes(tmp_path):
    """As in this repository: the program that runs is the one of the tree."""
    root = tmp_path / "project"
    for name in ("agent_tools", "templates", "ocr", "configs", "runners"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.ckpt"))
    shutil.copy2(REPOSITORY / "pyproject.toml", root)
    factory.store(root / "logs/2026-11-21_main-job/records", factory.trained())
    render.render_all(root, {"tools": tool_facts()})
    run_git(root, "init", "-q", "-b", "main")
    (root / ".gitignore").write_text("__pycache__/\noutputs/\n")

    def call(*words: str) -> tuple[int, dict]:
        command = [sys.executable, "-m", "agent_tools.cli", "git", "commit", *words, "--json"]
        options = ["--type", "feat", "--summary", "all", "--why", "first", "--why", "second"]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        ended = subprocess.run(
            [*command, *options], cwd=root, env=environment, capture_output=True, text=True, check=False
        )
        return ended.returncode, json.loads(ended.stdout.splitlines()[-1])

    code, answer = call(".")
    assert code == 0, answer
    template = root / "templates" / "findings.md.j2"
    template.write_text(template.read_text().replace("Executive summary", "What came of it"))
    code, answer = call("templates")
    assert code == 1
    assert "stale" in answer["error"], answer
    assert run_git(root, "rev-list", "--count", "HEAD") == "1\n"


def test_the_command_line_takes_paths_as_words_and_reasons_as_options(changed, git):
    command = [sys.executable, "-m", "agent_tools.cli", "--root", str(changed), "git", "commit", "a.txt"]
    command += ["--type", "fix", "--summary", "s", "--why", "one", "--why", "two"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run(command, env=environment, capture_output=True, check=True)
    assert git(changed, "show", "-s", "--format=%B").startswith("fix: s\n\n- one\n- two\n\n")


@pytest.mark.parametrize("trap", ["folder", "unreadable"])
def test_odd_hooks_do_not_make_a_commit_look_failed(changed, git, trap):
    hook = changed / ".git/hooks/commit-msg"
    hook.parent.mkdir(exist_ok=True)
    if trap == "folder":
        hook.mkdir()
    else:
        hook.write_text("#!/bin/sh\n")
        hook.chmod(0o111)
    assert commit(changed, "a.txt").commit == git(changed, "rev-parse", "HEAD").strip()


def test_a_signature_that_the_user_wants_everywhere_is_said_to_be_missing(changed):
    home = Path(os.environ["HOME"]) / ".gitconfig"
    home.write_text(home.read_text() + "[commit]\n\tgpgSign = true\n")
    assert "not signed" in commit(changed, "a.txt").note
