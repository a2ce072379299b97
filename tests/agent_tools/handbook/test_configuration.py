"""Every key of the configuration with its meaning: from the class that gets it, and from the comment beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_tools.handbook.configuration import ConfigFile, Key, keys_without_meaning, read_configuration

REPOSITORY = Path(__file__).resolve().parents[3]


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def read(root: Path, files: dict[str, str]) -> list[ConfigFile]:
    write(root, {f"configs/{name}": text for name, text in files.items()})
    return read_configuration(root / "configs", root)


def keys(files: list[ConfigFile]) -> dict[str, Key]:
    return {key.name: key for file in files for key in file.keys}


def test_no_key_of_this_project_is_without_a_meaning():
    files = read_configuration(REPOSITORY / "configs", REPOSITORY)
    assert keys_without_meaning(files) == []
    assert sum(len(file.keys) for file in files) > 100


def test_a_key_without_a_meaning_is_named_with_its_file_and_line(tmp_path):
    files = read(tmp_path, {"base.yaml": "# All of it.\na: 1\nb: 2  # two\n", "g/x.yaml": "c: {d: 4}\n"})
    assert keys_without_meaning(files) == ["base.yaml:2 a", "x.yaml:1 g.c.d"]


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("a:\n  b: 1  # beside\n", "beside"),
        ("a:\n  # above,\n  # two lines\n  b: 1\n", "above, two lines"),
        ("a:\n  # above\n  b: 1  # and beside\n", "above and beside"),
        ("a:  # of the mapping\n  b: 1\n", "of the mapping"),
        ("a: {b: 1, c: 2}  # of the line\n", "of the line"),
        ("a:\n# not indented like it\n  b: 1\n", ""),
        ("a:\n  # above the other\n  c: 2\n  b: 1\n", ""),
        ("# of the file\n\na:\n  b: 1\n", ""),
        ("a:\n  b: x#y\n", ""),
    ],
)
def test_a_comment_speaks_of_the_key_beside_it_below_it_or_inside_of_its_mapping(tmp_path, text, meaning):
    assert keys(read(tmp_path, {"base.yaml": text}))["a.b"].meaning == meaning


def test_names_are_those_of_the_command_line(tmp_path):
    files = read(
        tmp_path,
        {
            "base.yaml": "a: 1\n",
            "trainer/default.yaml": "max: 2\n",
            "hydra/log/plain.yaml": "level: INFO\n",
            "preset/fast.yaml": "# @package _global_\n# Faster.\ndefaults:\n  - /trainer: default\na: 3\n",
            "data/x.yaml": "# @package sets.one\nimage: [1,\n  2]\nempty:\nnone: {}\ninner: {defaults: 5}\n",
        },
    )
    found = [(file.path.name, key.name, key.default, key.line) for file in files for key in file.keys]
    assert found == [
        ("base.yaml", "a", "1", 1),
        ("x.yaml", "sets.one.image", "[1, 2]", 2),
        ("x.yaml", "sets.one.empty", "null", 4),
        ("x.yaml", "sets.one.none", "{}", 5),
        ("x.yaml", "sets.one.inner.defaults", "5", 6),
        ("plain.yaml", "hydra.log.level", "INFO", 1),
        ("fast.yaml", "a", "3", 5),
        ("default.yaml", "trainer.max", "2", 1),
    ]
    fast = next(file for file in files if file.path.name == "fast.yaml")
    assert (fast.says, fast.starts_from) == ("Faster.", ("/trainer: default",))


def test_the_class_that_gets_a_key_speaks_first_and_each_file_has_its_own(tmp_path):
    write(
        tmp_path,
        {
            "ocr/parts.py": (
                'class One:\n    """The first.\n\n    Args:\n        size: of one.\n    """\n\n'
                'class Two:\n    """The second."""\n\n    size: int = Field(0, description="of two")\n'
            )
        },
    )
    files = read(
        tmp_path,
        {
            "base.yaml": "where: ocr.parts\n",
            "model/a.yaml": "part:\n  _target_: ${where}.One\n  size: 1  # small\n",
            "model/b.yaml": "part: {_target_: ocr.parts.Two, size: 2}\n",
            "preset/c.yaml": "# @package _global_\nmodel:\n  part:\n    size: 3\n    _partial_: true\n",
        },
    )
    meanings = {file.path.name: {key.name: key.meaning for key in file.keys} for file in files}
    assert meanings["a.yaml"] == {
        "model.part._target_": "what is built from the keys beside it: The first",
        "model.part.size": "of one; small",
    }
    assert meanings["b.yaml"]["model.part.size"] == "of two"
    assert meanings["c.yaml"] == {
        "model.part.size": "of one",
        "model.part._partial_": "built later, with what is known only then",
    }


def test_a_key_that_another_file_explains_needs_no_second_explanation(tmp_path):
    files = read(tmp_path, {"base.yaml": "a: 1  # one\n", "preset/x.yaml": "# @package _global_\na: 2\n"})
    assert keys_without_meaning(files) == []
    assert files[1].keys[0].meaning == "one"
