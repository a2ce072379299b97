"""The path resolver, attacked."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.workspace.root import Root, RootError


@pytest.fixture
def root(tmp_path: Path) -> Root:
    inside = tmp_path / "root"
    (inside / "src").mkdir(parents=True)
    (inside / "src" / "module.py").write_text("x = 1\n")
    (tmp_path / "secret.txt").write_text("secret\n")
    (inside / "out").symlink_to(tmp_path)
    (inside / "leak").symlink_to(tmp_path / "secret.txt")
    (inside / "here").symlink_to("src")
    return Root.at(inside)


@pytest.mark.parametrize("text", ["src/module.py", "src", "./src", "here/module.py", "."])
def test_paths_inside_resolve(root, text):
    assert root.resolve(text).is_relative_to(root.path)


def test_an_absolute_path_inside_resolves(root):
    assert root.resolve(str(root.path / "src")) == root.path / "src"


@pytest.mark.parametrize(
    "text",
    [
        "..",
        "../secret.txt",
        "src/../../secret.txt",
        "src/../src",
        "/etc/passwd",
        "/",
        "out/secret.txt",
        "out",
        "leak",
        "-rf",
        "--output=x",
        ":(top)..",
        ":/",
        ":!src",
        "a\0b",
        "a\nb",
        "src\u202e",
        "",
    ],
)
def test_every_way_out_is_refused_with_one_sentence(root, text):
    with pytest.raises(RootError) as refusal:
        root.resolve(text, must_exist=False)
    assert "\n" not in str(refusal.value)
    assert "\0" not in str(refusal.value)


@given(st.text(max_size=30))
def test_whatever_resolves_lies_inside(text):
    root = Root.at(Path(__file__).parent)
    try:
        path = root.resolve(text, must_exist=False)
    except RootError:
        return
    assert path.is_relative_to(root.path)


def test_a_missing_path_names_the_nearest(root):
    with pytest.raises(RootError, match=r"'src/modul\.py' does not exist; the nearest there: 'src/module\.py'"):
        root.resolve("src/modul.py")
    with pytest.raises(RootError, match="'src'"):
        root.resolve("scr/module.py")


@pytest.mark.parametrize("text", ["x" * 256, "\u00e9" * 200, "missing/" + "x" * 256, "a/" * 3000, "a" * 100_000])
def test_a_name_longer_than_a_file_can_have_is_refused_before_anything_is_made(root, text):
    for must_exist in (False, True):
        with pytest.raises(RootError, match="longer than a path can be") as refusal:
            root.resolve(text, must_exist=must_exist)
        assert len(str(refusal.value)) < 300
    assert root.resolve("x" * 255, must_exist=False).name == "x" * 255


def test_a_path_through_a_file_is_a_missing_path(root):
    with pytest.raises(RootError, match="does not exist"):
        root.resolve("src/module.py/deeper")


def test_data_may_lie_in_an_allowed_folder_only(root, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "out").symlink_to(tmp_path / "secret.txt")
    wider = Root.at(root.path, (tmp_path / "data",))
    assert wider.resolve_data("../data/x") == tmp_path / "data" / "x"
    for text in ("../secret.txt", "../data/out", "/etc"):
        with pytest.raises(RootError, match="outside of the repository"):
            wider.resolve_data(text)
    with pytest.raises(RootError):
        root.resolve_data("../data/x")
    with pytest.raises(RootError):
        wider.resolve("../data/x", must_exist=False)


def test_the_root_around_a_folder_is_its_repository(repository):
    (repository / "deep" / "er").mkdir(parents=True)
    assert Root.around(repository / "deep" / "er").path == repository


def test_an_unpacked_archive_is_a_root_too(tmp_path):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "src").mkdir()
    assert Root.around(tmp_path / "src").path == tmp_path


def test_without_a_repository_there_is_no_root(tmp_path):
    with pytest.raises(RootError, match="--root"):
        Root.around(tmp_path)
    with pytest.raises(RootError, match="is not a folder"):
        Root.at(tmp_path / "missing")
