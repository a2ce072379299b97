"""Finding files and showing folders: complete, sorted, quick, and never a word of what lies outside."""

import os
import time
from pathlib import Path

import anyio
import pytest

from agent_tools.results import CHARACTER_LIMIT
from agent_tools.workspace.files import listing
from agent_tools.workspace.files.finding import FilesFound, file_find
from agent_tools.workspace.files.folders import FolderTree, dir_read
from agent_tools.workspace.files.opening import FileError
from agent_tools.workspace.root import Root, RootError


def find(folder: Path, pattern: str, **arguments) -> FilesFound:
    async def call() -> FilesFound:
        return await file_find(Root.at(folder), pattern, **arguments)

    answer = anyio.run(call)
    assert len(answer.model_dump_json()) <= CHARACTER_LIMIT
    return answer


def tree(folder: Path, **arguments) -> FolderTree:
    async def call() -> FolderTree:
        return await dir_read(Root.at(folder), **arguments)

    answer = anyio.run(call)
    assert len(answer.model_dump_json()) <= CHARACTER_LIMIT
    return answer


def write(folder: Path, **files: str) -> None:
    """Write files; `__` in a name stands for a slash."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture(params=["git", "no git"])
def project(request, tmp_path, git) -> Path:
    """A project with ignored, hidden and left-over files, in a repository and without one."""
    folder = tmp_path / "project"
    write(folder, src__a="", src__deep__b="", notes="", outputs__run="", built__x="", sub__keep="", sub__drop="")
    (folder / ".gitignore").write_text("/built/\n*.log\n")
    (folder / "sub" / ".gitignore").write_text("drop\n!wanted.log\n")
    for name in ("a.log", "sub/wanted.log", ".env", "src/.hidden"):
        (folder / name).write_text("")
    if request.param == "git":
        git(folder, "init", "-q")
        git(folder, "add", ".")
    return folder


def test_what_git_would_not_add_is_left_out_and_so_is_what_is_hidden(project):
    answer = find(project, "*")
    assert answer.files == ["notes", "src/a", "src/deep/b", "sub/keep", "sub/wanted.log"]
    assert (answer.total, answer.next_cursor, answer.note, answer.untrusted) == (5, "", "", True)


def test_everything_is_looked_at_when_asked_but_what_belongs_to_git(project):
    files = find(project, "*", everything=True).files
    assert {".env", "a.log", "built/x", "outputs/run", "src/.hidden", "sub/drop"} < set(files)
    assert not [name for name in files if name.startswith(".git/")]
    assert files == sorted(files)


def test_a_pattern_that_names_a_dot_finds_hidden_files(project):
    assert find(project, ".gitignore").files == [".gitignore", "sub/.gitignore"]
    assert find(project, "src/.*").files == ["src/.hidden"]


def test_an_absolute_pattern_inside_the_root_is_understood(project):
    assert find(project, f"{project}/src/*").files == ["src/a"]
    with pytest.raises(FileError, match="relative"):
        find(project, f"{project.parent}/*")


def test_pages_fit_together_and_details_are_sizes_and_times(project):
    (project / "notes").write_text("12345")
    os.utime(project / "notes", (86400, 86400))
    first = find(project, "*", limit=2)
    assert (first.total, first.files, first.next_cursor) == (5, ["notes", "src/a"], "2")
    assert find(project, "*", limit=2, cursor="2").files == ["src/deep/b", "sub/keep"]
    assert find(project, "notes", response_format="detailed").files == ["5 1970-01-02T00:00:00Z notes"]


def test_nothing_found_names_the_nearest(project):
    answer = find(project, "src/note.*")
    assert answer.note == (
        "nothing matches 'src/note.*', the nearest are notes; everything=true also looks at hidden and ignored files"
    )


def test_a_deleted_file_is_not_found(repository):
    (repository / "a.txt").unlink()
    assert find(repository, "a.txt").files == []


def test_no_link_leads_out_of_the_root(repository, git):
    outside = repository.parent / "outside"
    write(outside, secret="", sub__other="")
    write(repository, kept__secret="", real="")
    git(repository, "add", ".")
    (repository / "link").symlink_to(outside / "secret")
    (repository / "folder").symlink_to(outside)
    (repository / "loop").symlink_to(repository)
    (repository / "dangling").symlink_to("nowhere")
    (repository / "inner").symlink_to("real")
    # what git still knows as a folder leads out of the root now
    (repository / "kept" / "secret").unlink()
    (repository / "kept").rmdir()
    (repository / "kept").symlink_to(outside)
    os.mkfifo(repository / "pipe")
    for everything in (False, True):
        assert find(repository, "*", everything=everything).files == ["a.txt", "inner", "real"]
        assert [row.split()[0] for row in tree(repository, everything=everything).entries] == ["a.txt", "inner", "real"]


def test_strange_names_are_shown_and_break_no_line(repository):
    for name in (b"new\nline", b"esc\x1b[2J", b"bad\xff", "bidi\u202e".encode(), b"-x", b"a b"):
        (repository / os.fsdecode(name)).write_text("")
    files = find(repository, "*").files
    assert sorted(files) == sorted(
        ["a.txt", "new<U+000A>line", "esc<U+001B>[2J", "bad\\xff", "bidi<U+202E>", "-x", "a b"]
    )


def test_a_repository_that_git_refuses_is_walked(repository, git):
    git(repository, "config", "core.worktree", "/tmp")
    assert find(repository, "a.txt").files == ["a.txt"]


def test_a_repository_of_ten_thousand_files_is_searched_at_once(repository, git):
    for number in range(100):
        (repository / f"d{number}").mkdir()
        for other in range(100):
            (repository / f"d{number}" / f"f{other}.py").touch()
    git(repository, "add", ".")
    find(repository, "*.py")
    times = []
    for pattern in ("*.py", "d7/**/f1*.py", "f99"):
        started = time.perf_counter()
        assert find(repository, pattern).total
        times.append(time.perf_counter() - started)
    assert min(times) < 0.5
    assert find(repository, "*.py").total == 10_000


def test_too_many_files_are_cut_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "MOST_FILES", 10)
    for number in range(20):
        (tmp_path / str(number)).touch()
    answer = find(tmp_path, "*")
    assert answer.total == 10
    assert "cut at 10 files" in answer.note


# --- a folder at a glance -------------------------------------------------------------------------------------------


def test_a_tree_has_sizes_lines_and_what_each_file_says_of_itself(repository):
    write(repository, pkg__deep__x="1\n2\n", pkg__deep__y="12")
    (repository / "pkg" / "__init__.py").write_text('"""A package. It has more to say."""\n')
    (repository / "pkg" / "code.py").write_text("#!/usr/bin/python\n# note\n\nr'''Do a\nthing.\n\nMore.'''\nx = 1\n")
    (repository / "README.md").write_text("<!-- x -->\n# The title #\n\n# Other\n")
    (repository / "c.yaml").write_text("# What it sets\na: 1\n")
    (repository / "b.bin").write_bytes(b"\0" * 3000)
    assert tree(repository).entries == [
        "README.md 4 lines, 34 B: The title",
        "a.txt 1 lines, 4 B",
        "b.bin 2.9 KiB",
        "c.yaml 2 lines, 20 B: What it sets",
        "pkg/ 4 files, 101 B: A package.",
        "pkg/__init__.py 1 lines, 37 B: A package.",
        "pkg/code.py 8 lines, 58 B: Do a thing.",
        "pkg/deep/ 2 files, 6 B",
    ]
    assert tree(repository, path="pkg/deep").entries == ["x 2 lines, 4 B", "y 1 lines, 2 B"]
    assert len(tree(repository, depth=1).entries) == 5


@pytest.mark.parametrize(
    "text", ["def f(:", '"""open', "'''a''' + x", "b'bytes'", "\0", "x = 1", "", "\t'''bad indent'''"]
)
def test_a_module_that_is_no_python_says_nothing(repository, text):
    (repository / "m.py").write_text(text)
    assert len(tree(repository).entries) == 2


def test_what_a_file_says_is_shown_without_secrets_and_invisible_letters(repository):
    (repository / "m.md").write_text("# sk-" + "a" * 30 + " \u202e end\n")
    assert tree(repository).entries[-1].endswith("# <secret masked> <U+202E> end"[2:])


def test_a_tree_goes_on_by_its_cursor_and_a_large_file_is_not_counted(repository):
    (repository / "big.txt").write_bytes(b"x\n" * (1 << 20))
    write(repository, c="", d="")
    first = tree(repository, limit=2)
    assert (first.entries, first.total, first.next_cursor) == (["a.txt 1 lines, 4 B", "big.txt 2.0 MiB"], 4, "2")
    assert [row.split()[0] for row in tree(repository, limit=2, cursor="2").entries] == ["c", "d"]
    assert tree(repository, limit=2, cursor="2").next_cursor == ""


def test_a_huge_folder_is_shown_page_by_page(tmp_path):
    for number in range(3000):
        (tmp_path / f"{number:05}{'x' * 60}").touch()
    seen, cursor = 0, ""
    while True:
        answer = tree(tmp_path, limit=1000, cursor=cursor)
        seen += len(answer.entries)
        if not (cursor := answer.next_cursor):
            break
    assert seen == answer.total == 3000


def test_a_folder_outside_and_a_file_are_refused(repository):
    with pytest.raises(RootError):
        tree(repository, path="..")
    with pytest.raises(FileError, match="is a file"):
        tree(repository, path="a.txt")
