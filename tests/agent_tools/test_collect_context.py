"""`scripts/collect_context.sh`: from a fresh clone, with nothing installed, under its budget and at once."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent_tools.handbook import render
from tests.agent_tools.handbook import factory
from tests.agent_tools.small_projects import copy_context_script

REPOSITORY = Path(__file__).resolve().parents[2]
SECTIONS = ["Project Overview", "Current State", "Recent Changes", "Modified Files", "Recent Benchmarks", "TODOs"]
BYTES_PER_TOKEN = 3
SYSTEM_PYTHON = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent"}


def git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


def commit(root: Path, message: str) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", message)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A small committed project with the script, its records and its rendered pages."""
    copy_context_script(tmp_path)
    (tmp_path / "README.md").write_text("# Receipts\n\nFinds text.\n")
    (tmp_path / "a.py").write_text("# TODO: find it\n")
    factory.project(tmp_path)
    render.render_all(tmp_path)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, "feat: the first thing")
    return tmp_path


def collect(root: Path, *arguments: str) -> str:
    """Run the script from another folder, with the system's python and no home."""
    command = [str(root / "scripts/collect_context.sh"), *arguments]
    result = subprocess.run(command, cwd="/", env=SYSTEM_PYTHON, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def part(text: str, title: str) -> str:
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_the_sections_are_there_in_their_order_with_what_belongs_in_them(clone):
    text = collect(clone)
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    assert "documents: nothing stale" in text.splitlines()[0]
    assert "Finds text." in part(text, "Project Overview")
    assert "**Updated:** 2026-11-21 20:23 UTC" in part(text, "Current State")
    assert "feat: the first thing" in part(text, "Recent Changes")
    assert part(text, "Modified Files").strip() == "None."
    assert "14.20 s -> 2.87 s, 4.94x (4.84 to 5.09), hmean 0.842 -> 0.842 (equal)" in part(text, "Recent Benchmarks")
    assert "20261121T200622Z-benchmark-3fa9c1" in part(text, "Recent Benchmarks")
    assert "a.py:1:# TODO: find it" in part(text, "TODOs")


def test_modified_and_new_files_are_listed(clone):
    (clone / "a.py").write_text("x = 1\n")
    (clone / "new.py").write_text("")
    modified = part(collect(clone), "Modified Files")
    assert " M a.py" in modified
    assert "?? new.py" in modified


def test_stale_flags_come_first(clone):
    session = clone / "logs/2026-11-21_main-job"
    factory.store(session / "records", factory.ladder("20261123T200000Z-benchmark-abcdef", days=2))
    page = session / "first-train-run-aa11bb-findings.md"
    page.write_text(page.read_text().replace("2.00x", "3.00x"))
    text = collect(clone)
    assert "3 STALE, see Current State" in text.splitlines()[0]
    flags = part(text, "Current State").splitlines()[:3]
    assert all(flag.startswith("STALE: ") for flag in flags)
    assert "99_current_state.md: inputs of title, performance, remarks changed" in flags[0]
    assert "first-train-run-aa11bb-findings.md: block generated:summary was edited by hand" in flags[1]
    assert "abcdef.json has no findings" in flags[2]


def test_a_project_without_commits_records_or_pages_says_so(tmp_path):
    copy_context_script(tmp_path)
    text = collect(tmp_path)
    for words in ("There is no README.md", "no state page yet", "No commit yet", "None yet: `agent-tools bench ladder"):
        assert words in text


def test_a_corrupt_record_is_named_and_the_rest_is_shown(clone):
    (clone / "logs/2026-11-21_main-job/records/20261130T000000Z-benchmark-0badc0.json").write_text("{")
    benchmarks = part(collect(clone), "Recent Benchmarks")
    assert "UNREADABLE: logs/2026-11-21_main-job/records/20261130T000000Z-benchmark-0badc0.json" in benchmarks
    assert "4.94x" in benchmarks


def test_invisible_characters_are_shown_and_a_repositorys_fsmonitor_is_not_run(clone):
    (clone / "b.py").write_text("# TODO: hidden \u202e\u200b here\n")
    commit(clone, "fix: b")
    marker = clone.parent / f"{clone.name}-marker"
    git(clone, "config", "core.fsmonitor", f"touch {marker};")
    assert r"# TODO: hidden \u202e\u200b here" in collect(clone)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["evil", "ev=il"])
def test_a_filter_that_the_repository_names_is_not_run(clone, name):
    marker = clone.parent / f"{clone.name}-marker"
    (clone / ".gitattributes").write_text(f"*.py filter={name}\n")
    commit(clone, "chore: attributes")
    git(clone, "config", f"filter.{name}.clean", f"touch {marker}; cat")
    git(clone, "config", f"filter.{name}.required", "true")
    (clone / "a.py").write_text("# TODO: find at\n")
    subprocess.run(["git", "status"], cwd=clone, check=True, capture_output=True)
    assert marker.exists(), "the attack itself is broken, so the test shows nothing"
    marker.unlink()
    (clone / "a.py").write_text("# TODO: find us\n")
    assert " M a.py" in collect(clone)
    assert not marker.exists()


def test_git_variables_of_the_caller_do_not_lead_elsewhere(clone, monkeypatch):
    elsewhere = {"GIT_DIR": "/nonexistent", "GIT_EXTERNAL_DIFF": "false", "GIT_CONFIG_COUNT": "x"}
    monkeypatch.setattr(sys.modules[__name__], "SYSTEM_PYTHON", SYSTEM_PYTHON | elsewhere)
    assert "feat: the first thing" in part(collect(clone), "Recent Changes")


@pytest.mark.parametrize("budget", [600, 2000, 6000])
def test_the_budget_holds_and_every_cut_names_the_command_that_shows_the_rest(clone, budget):
    (clone / "README.md").write_text("# Long\n" + "Ünïcode words and more words of it.\n" * 500)
    (clone / "todo.py").write_text("".join(f"# TODO: number {n} of many\n" for n in range(500)))
    for number in range(300):
        (clone / f"untracked_{number}.txt").write_text("")
    git(clone, "add", "todo.py")
    text = collect(clone, "--budget", str(budget))
    assert f"Budget {budget} tokens" in text
    assert len(text.encode()) <= budget * BYTES_PER_TOKEN
    for title in ("Project Overview", "Modified Files", "TODOs"):
        assert re.search(r"\.\.\. \d+ more lines: `.+`", part(text, title)), title
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS


def test_a_budget_too_small_is_refused(clone):
    result = subprocess.run(
        [clone / "scripts/collect_context.sh", "--budget", "10"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "10 is too small to say anything; give at least 600" in result.stderr


def test_200_records_and_10000_files_stay_within_the_budget(clone):
    records = clone / "logs/2026-11-21_many/records"
    texts = factory.ladder().model_dump_json(indent=1)
    records.mkdir(parents=True)
    for number in range(200):
        name = f"20261121T200622Z-benchmark-{number:06x}"
        (records / f"{name}.json").write_text(texts.replace("20261121T200622Z-benchmark-3fa9c1", name))
    for folder in range(100):
        (clone / f"data_{folder}").mkdir()
        for number in range(100):
            (clone / f"data_{folder}/{number}.txt").write_text(f"{folder} {number}\n")
    commit(clone, "feat: many files")
    # how long it takes: `python -m benchmarks.context`
    text = collect(clone)
    assert len(text.encode()) <= 6000 * BYTES_PER_TOKEN
    # each of the records has no findings, and the state page does not know them
    assert "201 STALE" in text.splitlines()[0]
    assert "193 older ones: `agent-tools record list" in text


def test_a_page_made_from_the_code_is_not_called_stale_unless_somebody_edited_it(clone):
    page = clone / "logs/2026-11-21_main-job/tools.md"
    shutil.copy2(REPOSITORY / "docs/ai_handbook/03_reference/tools.md", page)
    assert "documents: nothing stale" in collect(clone).splitlines()[0]
    page.write_text(page.read_text().replace("# Tools", "# All tools", 1))
    assert "block generated:title was edited by hand" in part(collect(clone), "Current State")
