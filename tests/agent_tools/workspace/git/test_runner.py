"""Reading git: right on real repositories, and silent on those that want a program run."""

import os
import subprocess
import time
from pathlib import Path

import anyio
import pytest

from agent_tools.jobs.processes import Finished
from agent_tools.results import CHARACTER_LIMIT, CursorError
from agent_tools.workspace.git import runner as git_module
from agent_tools.workspace.git.history import commits_touching, tree_since
from agent_tools.workspace.git.reading import GitDiff, GitLog, GitStatus, git_diff, git_log, git_status
from agent_tools.workspace.git.runner import GitError, Repository
from agent_tools.workspace.root import Root, RootError


def status(folder: Path, **arguments) -> GitStatus:
    async def call() -> GitStatus:
        return await git_status(Root.at(folder), **arguments)

    return anyio.run(call)


def diff(folder: Path, **arguments) -> GitDiff:
    async def call() -> GitDiff:
        return await git_diff(Root.at(folder), **arguments)

    return anyio.run(call)


def log(folder: Path, **arguments) -> GitLog:
    async def call() -> GitLog:
        return await git_log(Root.at(folder), **arguments)

    return anyio.run(call)


def read_everything(folder: Path) -> None:
    """Every way in which the tools read a repository."""
    for response_format in ("concise", "detailed"):
        status(folder, response_format=response_format)
        diff(folder, response_format=response_format)
        diff(folder, staged=True, response_format=response_format)
        log(folder, response_format=response_format)
        log(folder, paths=("a.txt",), response_format=response_format)
    for base in ("", "HEAD", "0" * 40):
        anyio.run(tree_since, Root.at(folder), base)
    anyio.run(commits_touching, Root.at(folder), "HEAD", ["a.txt"])


# --- what the answers say ----------------------------------------------------------------------------------------


def test_status_sorts_files_into_staged_unstaged_untracked(repository, git):
    (repository / "b.txt").write_text("b\n")
    git(repository, "add", "b.txt")
    (repository / "a.txt").write_text("changed\n")
    (repository / "new file.txt").write_text("n\n")
    answer = status(repository)
    assert (answer.branch, answer.staged, answer.unstaged, answer.untracked) == (
        "main",
        ["A b.txt"],
        ["M a.txt"],
        ["new file.txt"],
    )
    assert answer.commit == git(repository, "rev-parse", "HEAD").strip()
    assert answer.untrusted


def test_a_rename_names_both_paths(repository, git):
    git(repository, "mv", "a.txt", "z.txt")
    assert status(repository).staged == ["R z.txt <- a.txt"]


def test_a_conflict_is_listed(repository, git):
    git(repository, "checkout", "-q", "-b", "side")
    (repository / "a.txt").write_text("side\n")
    git(repository, "commit", "-qam", "side")
    git(repository, "checkout", "-q", "main")
    (repository / "a.txt").write_text("main\n")
    git(repository, "commit", "-qam", "main")
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "merge", "side")
    assert status(repository).conflicted == ["UU a.txt"]


def test_status_counts_what_it_leaves_out(repository):
    for number in range(30):
        (repository / f"f{number:02}.txt").write_text("x")
    answer = status(repository, limit=10)
    assert len(answer.untracked) == 10
    assert answer.omitted == 20


def test_detailed_status_opens_new_folders(repository):
    (repository / "new").mkdir()
    (repository / "new" / "x.txt").write_text("x")
    assert status(repository).untracked == ["new/"]
    assert status(repository, response_format="detailed").untracked == ["new/x.txt"]


def test_a_repository_without_commits_is_read_like_any_other(tmp_path, git):
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "x.txt").write_text("x\n")
    git(tmp_path, "add", "x.txt")
    assert status(tmp_path).commit == ""
    assert log(tmp_path).commits == []
    assert diff(tmp_path).files == ["1 0 x.txt"]
    with pytest.raises(GitError, match="no commit yet"):
        diff(tmp_path, revision="main")


def test_diff_shows_staged_and_unstaged_work_against_the_last_commit(repository, git):
    (repository / "a.txt").write_text("one\ntwo\n")
    git(repository, "add", "a.txt")
    (repository / "a.txt").write_text("one\ntwo\nthree\n")
    both = diff(repository)
    assert both.files == ["2 0 a.txt"]
    assert "+two\n+three" in both.patch
    assert diff(repository, staged=True).files == ["1 0 a.txt"]
    assert diff(repository, response_format="concise").patch == ""


def test_diff_between_commits_and_on_paths(repository, git):
    (repository / "b.txt").write_text("b\n")
    (repository / "a.txt").write_text("2\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "second")
    assert diff(repository, revision="HEAD^..HEAD").files == ["1 1 a.txt", "1 0 b.txt"]
    assert diff(repository, revision="HEAD^..HEAD", paths=("b.txt",)).files == ["1 0 b.txt"]
    with pytest.raises(GitError, match="leave one out"):
        diff(repository, revision="HEAD^..HEAD", staged=True)


def test_pages_of_a_diff_join_to_the_whole(repository):
    (repository / "a.txt").write_text("".join(f"line {number}\n" for number in range(100)))
    whole = diff(repository).patch.splitlines()
    joined, cursor = [], ""
    for _ in range(20):
        part = diff(repository, limit=10, cursor=cursor)
        joined += part.patch.split("\n")
        cursor = part.next_cursor
        if not cursor:
            break
    assert joined == whole
    assert len(whole) == diff(repository).patch_lines


def test_a_patch_that_does_not_fit_is_kept_whole_and_one_that_fits_is_not(repository):
    (repository / "a.txt").write_text("".join(f"line {number}\n" for number in range(100)))
    whole = diff(repository)
    assert whole.kept == ""
    first = diff(repository, limit=10)
    last = diff(repository, limit=2000, cursor=first.next_cursor)
    assert first.kept == last.kept != ""
    assert (repository / first.kept).read_text() == whole.patch + "\n"
    assert first.kept in first.summary()
    (repository / "a.txt").write_text("x" * 2000 + "\n")
    assert "x" * 2000 in (repository / diff(repository).kept).read_text()
    assert status(repository, response_format="detailed").untracked == []


def test_a_page_of_a_diff_is_shown_where_nothing_can_be_written(repository):
    (repository / "a.txt").write_text("".join(f"line {number}\n" for number in range(100)))
    (repository / "outputs").write_text("a file where the folder would be\n")
    cut = diff(repository, limit=10)
    assert (cut.kept, len(cut.patch.splitlines())) == ("", 10)


def test_no_answer_exceeds_the_character_limit(repository, git):
    for number in range(400):
        (repository / f"{number:03}{'x' * 180}.txt").write_text("y" * 700 + "\n")
    (repository / "a.txt").write_text(('"\\' * 240 + "\n") * 300)
    git(repository, "add", ".")
    for answer in (diff(repository, limit=2000), status(repository, limit=500)):
        assert len(answer.model_dump_json()) < CHARACTER_LIMIT
    git(repository, "commit", "-qm", "s" * 3000 + "\n\n" + "b" * 90_000)
    assert len(log(repository, limit=100, response_format="detailed").model_dump_json()) < CHARACTER_LIMIT


def test_an_answer_that_git_had_to_cut_says_so_and_ends_with_a_whole_entry(repository, git, monkeypatch):
    for number in range(60):
        (repository / f"file {number:02}.txt").write_text(f"{number}\n" * 20)
    git(repository, "add", "--intent-to-add", ".")
    whole, files = diff(repository, limit=2000), status(repository, limit=500)
    assert (whole.note, files.note) == ("", "")
    monkeypatch.setattr(git_module, "OUTPUT_CAP", 900)
    numbers, fewer = diff(repository, limit=2000), status(repository, limit=500)
    monkeypatch.setattr(git_module, "OUTPUT_CAP", 3000)
    cut = diff(repository, limit=2000)
    for answer in (numbers, cut, fewer):
        assert "name paths" in answer.note
        assert "name paths" in answer.summary()
    assert 0 < len(fewer.unstaged) < 60
    assert set(fewer.unstaged) < set(files.unstaged)
    assert 0 < len(numbers.files) < 60
    assert set(numbers.files) < set(whole.files) == set(cut.files)
    assert 0 < cut.patch_lines < whole.patch_lines
    assert whole.patch.startswith(cut.patch + "\n")


def test_a_configuration_too_long_to_be_read_whole_is_refused(repository, git, monkeypatch):
    git(repository, "config", "filter.evil.clean", "x" * 3000)
    monkeypatch.setattr(git_module, "OUTPUT_CAP", 900)
    with pytest.raises(GitError, match="git config said more than"):
        status(repository)


def test_a_log_that_git_had_to_cut_goes_on_on_the_next_page(repository, git, monkeypatch):
    for number in range(12):
        git(repository, "commit", "-q", "--allow-empty", "-m", f"c{number}")
    expected = [commit["subject"] for commit in log(repository).commits]
    monkeypatch.setattr(git_module, "OUTPUT_CAP", 700)
    seen, cursor = [], ""
    for _ in range(13):
        part = log(repository, cursor=cursor)
        seen += [commit["subject"] for commit in part.commits]
        cursor = part.next_cursor
        if not cursor:
            break
    assert seen == expected
    git(repository, "commit", "-q", "--allow-empty", "-m", "s\n\n" + "b" * 900)
    with pytest.raises(GitError, match="The message of one commit"):
        log(repository, response_format="detailed")


def test_log_pages_stay_right_while_commits_are_added(repository, git):
    for number in range(5):
        git(repository, "commit", "-q", "--allow-empty", "-m", f"c{number}")
    first = log(repository, limit=3)
    git(repository, "commit", "-q", "--allow-empty", "-m", "later")
    second = log(repository, limit=10, cursor=first.next_cursor)
    assert [commit["subject"] for commit in first.commits + second.commits] == ["c4", "c3", "c2", "c1", "c0", "first"]
    assert second.next_cursor == ""


def test_detailed_log_has_author_and_body(repository, git):
    git(repository, "commit", "-q", "--allow-empty", "-m", "subject\n\nbody line")
    newest = log(repository, limit=1, response_format="detailed").commits[0]
    assert (newest["subject"], newest["body"], newest["author"]) == ("subject", "body line", "tester@NAME")


@pytest.mark.parametrize(
    "revision", ["--output=/tmp/x", "-p", "HEAD:a.txt", "a b", "", "x\0y", "HEAD\n", "..", "^HEAD"]
)
def test_a_revision_that_is_none_is_refused(repository, revision):
    for call in (diff, log):
        with pytest.raises(GitError, match="revision"):
            call(repository, revision=revision)


def test_an_unknown_revision_names_the_nearest(repository):
    with pytest.raises(GitError, match="the nearest are main"):
        log(repository, revision="mian")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", ":(top)", "--cached", "a\0"])
def test_paths_outside_are_refused(repository, path):
    for call in (diff, log):
        with pytest.raises(RootError):
            call(repository, paths=(path,))


def test_glob_characters_in_a_path_are_literal(repository, git):
    (repository / "a*.txt").write_text("star\n")
    (repository / "ab.txt").write_text("b\n")
    git(repository, "add", ".")
    assert diff(repository, paths=("a*.txt",)).files == ["1 0 a*.txt"]


@pytest.mark.parametrize("cursor", ["x", "-1", "1;2", "9" * 40])
def test_a_made_up_cursor_is_refused(repository, cursor):
    with pytest.raises(CursorError, match="next_cursor"):
        diff(repository, cursor=cursor)
    with pytest.raises(GitError, match="next_cursor"):
        log(repository, cursor=cursor)


def test_hidden_characters_and_secrets_of_the_repository_are_shown_and_masked(repository, git):
    (repository / "a.txt").write_text("x = 'a\u202eb' # token ghp_" + "a" * 36 + "\n")
    (repository / "odd\u200bname\n.txt").write_text("n\n")
    answer = diff(repository)
    assert "<U+202E>" in answer.patch
    assert "ghp_" not in answer.patch
    assert status(repository).untracked == ["odd<U+200B>name<U+000A>.txt"]
    git(repository, "commit", "-qam", "say \u202ehello")
    assert log(repository).commits[0]["subject"] == "say <U+202E>hello"


def test_outside_of_a_repository_the_sentence_says_so(tmp_path):
    with pytest.raises(GitError, match="not a git repository"):
        status(tmp_path)


# --- attacks -----------------------------------------------------------------------------------------------------


def attributes(repository: Path, line: str) -> None:
    (repository / ".gitattributes").write_text(line + "\n")


def dirty(repository: Path) -> None:
    (repository / "a.txt").write_text("changed\n")
    os.utime(repository / "a.txt", (1, 1))


PLANTS = {
    "fsmonitor": ([("core.fsmonitor", "{payload}")], ""),
    "external diff": ([("diff.external", "{payload}")], ""),
    "diff command": ([("diff.evil.command", "{payload}")], "* diff=evil"),
    "textconv": ([("diff.evil.textconv", "{payload}")], "* diff=evil"),
    "clean filter": ([("filter.evil.clean", "{payload}"), ("filter.evil.required", "true")], "* filter=evil"),
    "process filter": ([("filter.evil.process", "{payload}")], "* filter=evil"),
    "filter with = in its name": ([("filter.e=vil.clean", "{payload}")], "* filter=e=vil"),
    "filter with dots and capitals": ([("filter.E.Vil.x.clean", "{payload}")], "* filter=E.Vil.x"),
    "signatures": ([("log.showSignature", "true"), ("gpg.program", "{payload}")], ""),
    "ssh signatures": ([("log.showSignature", "true"), ("gpg.ssh.program", "{payload}"), ("gpg.format", "ssh")], ""),
    "pager": ([("core.pager", "{payload}"), ("pager.log", "{payload}"), ("pager.diff", "true")], ""),
    "alternate refs": ([("core.alternateRefsCommand", "{payload}")], ""),
    "alias": ([("alias.status", "!{payload}"), ("alias.diff", "!{payload}"), ("alias.log", "!{payload}")], ""),
}


def plant(repository: Path, git, payload: str, name: str) -> None:
    settings, attribute = PLANTS[name]
    for key, value in settings:
        git(repository, "config", key, value.format(payload=payload))
    if attribute:
        attributes(repository, attribute)
    dirty(repository)


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_program_never_runs(repository, git, payload, marker, name):
    plant(repository, git, payload, name)
    read_everything(repository)
    assert not marker.exists(), marker.read_text()


@pytest.mark.parametrize("name", ["fsmonitor", "external diff", "diff command", "textconv", "clean filter"])
def test_the_same_plant_does_run_under_plain_git(repository, git, payload, marker, name):
    plant(repository, git, payload, name)
    for command in (("status",), ("diff",)):
        subprocess.run(["git", *command], cwd=repository, capture_output=True, check=False)
    assert marker.exists(), "the attack itself is broken, so the test above shows nothing"


@pytest.mark.parametrize("section", ["include", 'includeIf "gitdir:**"', 'includeIf "onbranch:main"'])
def test_a_program_in_an_included_file_never_runs(repository, git, payload, marker, section, tmp_path):
    (tmp_path / "extra").write_text(f'[filter "evil"]\n\tclean = {payload}\n[diff "evil"]\n\ttextconv = {payload}\n')
    with (repository / ".git" / "config").open("a") as config:
        config.write(f"[{section}]\n\tpath = {tmp_path / 'extra'}\n")
    attributes(repository, "* filter=evil diff=evil")
    dirty(repository)
    read_everything(repository)
    assert not marker.exists()


def test_a_program_in_the_configuration_of_a_worktree_never_runs(repository, git, payload, marker):
    git(repository, "config", "extensions.worktreeConfig", "true")
    git(repository, "config", "--worktree", "filter.evil.clean", payload)
    attributes(repository, "* filter=evil")
    dirty(repository)
    read_everything(repository)
    assert not marker.exists()


def test_hooks_never_run(repository, git, payload, marker):
    hooks = repository / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-index-change", "fsmonitor-watchman", "pre-commit", "reference-transaction"):
        (hooks / name).symlink_to(payload)
    dirty(repository)
    read_everything(repository)
    assert not marker.exists()


def test_a_submodule_cannot_run_a_program_either(repository, inner, git, payload, marker):
    git(repository, "-c", "advice.addEmbeddedRepo=false", "add", "inner")
    git(repository, "commit", "-qm", "with submodule")
    git(inner, "commit", "-q", "--allow-empty", "-m", "moved")
    git(inner, "config", "filter.inner.clean", payload)
    attributes(inner, "x filter=inner")
    (inner / "x").write_text("y\n")
    git(repository, "config", "diff.submodule", "log")
    git(repository, "config", "status.submoduleSummary", "true")
    (repository / ".gitmodules").write_text('[submodule "inner"]\n\tpath = inner\n\turl = ./inner\n\tignore = none\n')
    dirty(repository)
    marker.unlink(missing_ok=True)
    read_everything(repository)
    assert not marker.exists()


def test_a_missing_object_is_never_fetched(repository, git, payload, marker):
    git(repository, "config", "core.repositoryformatversion", "1")
    git(repository, "config", "extensions.partialClone", "origin")
    git(repository, "config", "remote.origin.url", "ext::" + payload)
    git(repository, "config", "remote.origin.promisor", "true")
    git(repository, "config", "remote.origin.uploadpack", payload)
    git(repository, "config", "core.sshCommand", payload)
    git(repository, "config", "protocol.ext.allow", "always")
    blob = git(repository, "rev-parse", "HEAD:a.txt").strip()
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    dirty(repository)
    with pytest.raises(GitError):
        diff(repository)
    assert not marker.exists()


def test_the_environment_of_the_caller_reaches_no_program(repository, payload, marker, monkeypatch):
    for name in ("GIT_EXTERNAL_DIFF", "GIT_PAGER", "GIT_SSH", "GIT_ASKPASS", "GIT_EDITOR", "PAGER"):
        monkeypatch.setenv(name, payload)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", payload)
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    dirty(repository)
    read_everything(repository)
    assert not marker.exists()


def test_the_configuration_of_the_user_is_not_read(repository, payload, marker, monkeypatch, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(f"[core]\n\tfsmonitor = {payload}\n[diff]\n\texternal = {payload}\n")
    monkeypatch.setenv("HOME", str(home))
    dirty(repository)
    read_everything(repository)
    assert not marker.exists()


@pytest.mark.parametrize("outside", ["..", "/", "../../..", "/etc"])
def test_a_work_tree_outside_is_refused(repository, git, outside):
    git(repository, "config", "core.worktree", "../" + outside if outside.startswith(".") else outside)
    for call in (status, diff, log):
        with pytest.raises(GitError, match=r"core\.worktree leads outside"):
            call(repository)


def test_a_work_tree_outside_in_an_included_file_is_refused(repository, tmp_path):
    (tmp_path / "extra").write_text("[core]\n\tworktree = /\n")
    with (repository / ".git" / "config").open("a") as config:
        config.write(f"[include]\n\tpath = {tmp_path / 'extra'}\n")
    with pytest.raises(GitError, match=r"core\.worktree leads outside"):
        status(repository)


@pytest.mark.parametrize("form", ["file", "link", "commondir"])
def test_a_git_folder_outside_is_refused(repository, tmp_path, git, form):
    victim = tmp_path / "victim"
    victim.mkdir()
    git(victim, "init", "-q")
    thief = tmp_path / "thief"
    thief.mkdir()
    if form == "file":
        (thief / ".git").write_text(f"gitdir: {victim / '.git'}\n")
    elif form == "link":
        (thief / ".git").symlink_to(victim / ".git")
    else:
        git(thief, "init", "-q")
        (thief / ".git" / "commondir").write_text(str(victim / ".git") + "\n")
    with pytest.raises(GitError, match="leads outside of the root"):
        log(thief)


def test_a_linked_worktree_is_read(repository, git, tmp_path):
    git(repository, "worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    assert status(tmp_path / "linked").branch == "side"


def test_reading_changes_nothing_in_the_repository(repository):
    dirty(repository)
    before = {path: path.stat().st_mtime_ns for path in (repository / ".git").rglob("*")}
    read_everything(repository)
    assert {path: path.stat().st_mtime_ns for path in (repository / ".git").rglob("*")} == before


def test_a_broken_configuration_is_a_sentence(repository):
    (repository / ".git" / "config").write_text("[broken\n")
    with pytest.raises(GitError, match="git config failed"):
        status(repository)


def test_a_configuration_that_moved_is_read_again_however_it_moved(repository, git, tmp_path):
    marker = tmp_path / "ran"
    config, other = repository / ".git/config", repository / ".git/config.worktree"
    for path in (config, repository / "a.txt"):
        os.utime(path, (1, 1))
    time.sleep(2.1)
    assert status(repository).branch == status(repository).branch == "main"
    (repository / ".gitattributes").write_text("* filter=planted\n")
    (repository / "a.txt").write_text("two\n")
    planted = f'[filter "planted"]\n\tclean = touch {marker}; cat\n'
    # As large and as old as before: only the change time tells.
    text = config.read_text()
    padding = max(0, len(text) - len(planted) - 1)
    config.write_text(f"{planted}#{'x' * padding}"[: max(len(text), len(planted) + 1)])
    os.utime(config, (1, 1))
    status(repository)
    config.write_text(text + "[extensions]\n\tworktreeConfig = true\n")
    other.write_text(planted)
    diff(repository)
    assert not marker.exists()
    (tmp_path / "included").write_text("")
    config.write_text(f"{text}[include]\n\tpath = {tmp_path / 'included'}\n")
    os.utime(config, (1, 1))
    time.sleep(2.1)
    status(repository)
    (tmp_path / "included").write_text(planted)
    diff(repository)
    assert not marker.exists()
    git(repository, "status")
    assert marker.exists()


def test_a_settled_configuration_is_read_once_for_many_calls(repository, monkeypatch):
    started: list[str] = []
    attempt = Repository.attempt

    async def counted(self: Repository, *arguments: str, stdin: bytes = b"") -> Finished:
        started.append(arguments[0])
        return await attempt(self, *arguments, stdin=stdin)

    monkeypatch.setattr(Repository, "attempt", counted)
    time.sleep(2.1)
    for read in (status, diff, log, status, diff, log):
        read(repository)
    assert started == ["config", "status", "diff", "log", "status", "diff", "log"]


def test_a_repository_with_longer_ids_is_read_before_its_first_commit(tmp_path, git):
    folder = tmp_path / "long"
    folder.mkdir()
    git(folder, "init", "-q", "--object-format=sha256")
    (folder / "a.txt").write_text("one\n")
    git(folder, "add", ".")
    assert diff(folder, staged=True).files == ["1 0 a.txt"]


def test_a_diff_of_more_files_than_it_names_says_how_many_are_left_out(repository, git):
    for number in range(230):
        (repository / f"file{number}.txt").write_text("x\n")
    git(repository, "add", "--intent-to-add", ".")
    answer = diff(repository, response_format="concise")
    assert len(answer.files) == 200
    assert "30 more files changed; name paths" in answer.note
