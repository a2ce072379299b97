"""Names by pattern: as a shell with globstar has them, and no pattern that hangs."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.workspace.files.opening import FileError
from agent_tools.workspace.files.patterns import matcher, names_hidden

NAMES = [
    "a.py",
    "b.md",
    "src/a.py",
    "src/deep/er/a.py",
    "src/deep/b.txt",
    "tests/test_a.py",
    "Makefile",
    ".github/x.yml",
]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.py", ["a.py", "src/a.py", "src/deep/er/a.py", "tests/test_a.py"]),
        ("src/*.py", ["src/a.py"]),
        ("src/**/*.py", ["src/a.py", "src/deep/er/a.py"]),
        ("**/er/*", ["src/deep/er/a.py"]),
        ("src/**", ["src/a.py", "src/deep/er/a.py", "src/deep/b.txt"]),
        ("src/deep", ["src/deep/er/a.py", "src/deep/b.txt"]),
        ("src/d*/", ["src/deep/er/a.py", "src/deep/b.txt"]),
        ("*.{md,txt}", ["b.md", "src/deep/b.txt"]),
        ("{src,tests}/*.py", ["src/a.py", "tests/test_a.py"]),
        ("[Mm]akefile", ["Makefile"]),
        ("?.md", ["b.md"]),
        ("makefile", ["Makefile"]),
        ("EP/ER", ["src/deep/er/a.py"]),
        ("./src/*.py", ["src/a.py"]),
        ("[", []),
        ("*", NAMES),
        ("**/**/**", NAMES),
    ],
)
def test_a_pattern_finds_what_a_shell_would(pattern, found):
    is_match = matcher(pattern)
    assert [name for name in NAMES if is_match(name)] == found


@given(st.lists(st.sampled_from(["*", "**", "a", "?", "/", "b"]), min_size=1, max_size=7).map("".join))
def test_globs_agree_with_pathlib(tmp_path_factory, pattern):
    if pattern.startswith("/") or "//" in pattern or pattern.endswith("/") or "***" in pattern:
        return
    parts = pattern.split("/")
    if any("**" in part and part != "**" for part in parts) or parts[-1] == "**" or not set(pattern) & set("*?"):
        return
    folder = tmp_path_factory.getbasetemp() / "tree"
    names = ["a", "b", "ab", "d/a", "d/ab", "d/e/b", "a1/a/ab"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    glob = pattern if len(parts) > 1 else f"**/{pattern}"
    expected = sorted({path.relative_to(folder).as_posix() for path in folder.glob(glob) if path.is_file()})
    is_match = matcher(pattern)
    assert sorted(name for name in names if is_match(name)) == expected


@pytest.mark.parametrize("pattern", ["", "a\nb", "a\0", "\u202e*", "x" * 301, "/etc/*", "../*", "a/../../*"])
def test_what_is_no_pattern_is_refused_with_an_example(pattern):
    with pytest.raises(FileError, match=r"as '"):
        matcher(pattern)


def test_braces_that_stand_for_too_many_patterns_are_refused():
    with pytest.raises(FileError, match="64 patterns"):
        matcher("{a,b}" * 7)


@pytest.mark.parametrize("pattern", ["*a" * 30 + "b", "**/" * 60 + "b", "*?" * 100, "[a" * 50 + "*", "{" * 200 + "*"])
def test_no_pattern_hangs(pattern):
    started = time.monotonic()
    is_match = matcher(pattern)
    for name in ("a" * 200, "/".join(["a"] * 100), "/".join(["aaaa"] * 50)):
        is_match(name)
    assert time.monotonic() - started < 1


def test_a_pattern_with_a_dot_means_hidden_files():
    assert names_hidden(".github/**")
    assert names_hidden("a/{.x,y}")
    assert not names_hidden("./src/*.py")
    assert not names_hidden("*.py")
