"""Every key of the configuration files: its default, what it means, and where it stands.

A meaning is what the schema or constructor that gets the key says of it, and the comment beside or above the key. The
classes are read as text: nothing of the trainer is imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import yaml

from agent_tools.handbook.blocks import DocumentError, read_text
from agent_tools.handbook.inputs import configuration_files
from agent_tools.handbook.parameters import definition_says, parameter_meanings

READERS: Mapping[str, str] = {"dataloaders": "ocr.lightning_modules.data_pl.LoaderConfig"}
"""Package -> the schema that reads its keys, where the file itself names none with `_target_`."""
BUILT = "what is built from the keys beside it"
"""What Hydra takes `_target_` for."""
LATER = "built later, with what is known only then"
"""What Hydra takes `_partial_: true` for."""

_INTERPOLATION = re.compile(r"\$\{([\w.]+)\}")
_PACKAGE = re.compile(r"#\s*@package\s+(\S+)")


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        name: as the command line has it, such as `trainer.precision`.
        default: its value as the file writes it.
        line: of the file, from 1.
        meaning: '' where neither a comment nor a class says it.
    """

    name: str
    default: str
    line: int
    meaning: str


@dataclass(frozen=True)
class ConfigFile:
    """One file: what it says of itself, what it starts from (Hydra's defaults list), and its keys."""

    path: Path
    says: str
    starts_from: tuple[str, ...]
    keys: tuple[Key, ...]


class _Pair(NamedTuple):
    """A key of a mapping with its full name, its value, and the name of the mapping."""

    name: str
    key: yaml.ScalarNode
    value: yaml.Node
    parent: str


def read_configuration(folder: Path, root: Path) -> list[ConfigFile]:
    """All files of a configuration folder, by path, with the meaning of every key.

    Raises:
        DocumentError: a file is not YAML, or a class that it names is not Python.
    """
    files = [_read_file(path, folder) for path in configuration_files(folder)]
    values = {key.name: key.default for file in reversed(files) for key in file.keys}
    commented = {key.name: key.meaning for file in reversed(files) for key in file.keys if key.meaning}
    return [_explained(file, values, commented, root) for file in files]


def keys_without_meaning(files: Sequence[ConfigFile]) -> list[str]:
    """`FILE:LINE NAME` of every key that nothing explains."""
    return [f"{file.path.name}:{key.line} {key.name}" for file in files for key in file.keys if not key.meaning]


# --- one file ----------------------------------------------------------------------------------------------------


def _read_file(path: Path, folder: Path) -> ConfigFile:
    text = read_text(path)
    lines = text.split("\n")
    head = _head(lines)
    package = _package(path, folder, head)
    every = list(_pairs(_parsed(text, path.name), package))
    # Hydra takes the list of this name at the top of a file, and no other
    lists = [pair for pair in every if (pair.parent, pair.key.value) == (package, "defaults")]
    pairs = [pair for pair in every if pair not in lists]
    comments = {
        pair.name: _comments(pair.key.start_mark.line, pair.key.start_mark.column, lines, len(head)) for pair in pairs
    }
    keys = [
        Key(pair.name, _written(pair.value, text), pair.key.start_mark.line + 1, _comment(pair, comments))
        for pair in pairs
        if not (isinstance(pair.value, yaml.MappingNode) and pair.value.value)
    ]
    starts = [entry for pair in lists for entry in _entries(pair.value, text)]
    says = " ".join(line.lstrip("# ") for line in head if not _PACKAGE.match(line))
    return ConfigFile(path, says, tuple(starts), tuple(keys))


def _parsed(text: str, name: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise DocumentError(f"{name} is not YAML: {' '.join(str(error).split())}.") from error
    return node


def _head(lines: Sequence[str]) -> list[str]:
    """The comment lines at the top of a file: they speak of all of it."""
    head: list[str] = []
    for line in lines:
        if not line.startswith("#"):
            break
        head.append(line)
    return head


def _package(path: Path, folder: Path, head: Sequence[str]) -> str:
    declared = next((found[1] for line in head if (found := _PACKAGE.match(line))), "")
    if declared:
        return "" if declared == "_global_" else declared
    return ".".join(path.relative_to(folder).parts[:-1])


def _pairs(node: yaml.Node | None, prefix: str) -> Iterator[_Pair]:
    """Every key of a mapping and of the mappings in it."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        name = f"{prefix}.{key.value}" if prefix else str(key.value)
        yield _Pair(name, key, value, prefix)
        yield from _pairs(value, name)


def _written(node: yaml.Node, text: str) -> str:
    return " ".join(text[node.start_mark.index : node.end_mark.index].split()) or "null"


def _entries(node: yaml.Node, text: str) -> list[str]:
    return [_written(entry, text) for entry in node.value] if isinstance(node, yaml.SequenceNode) else []


def _comments(line: int, column: int, lines: Sequence[str], head: int) -> str:
    """The comment beside a key, and the lines of comment right above it that are indented like it."""
    above: list[str] = []
    for place in range(line - 1, head - 1, -1):
        if not lines[place].startswith(" " * column + "#"):
            break
        above.insert(0, lines[place].strip("# "))
    return " ".join([*above, *_beside(lines[line])])


def _beside(line: str) -> list[str]:
    # a '#' starts a comment only after white space, and none of the values holds ' #' in quotes
    _, mark, comment = line.partition(" #")
    return [comment.strip("# ")] if mark else []


def _comment(pair: _Pair, comments: Mapping[str, str]) -> str:
    """The key's own comment, else that of the nearest mapping around it."""
    name = pair.name
    while name:
        if comments.get(name):
            return comments[name]
        name = name.rpartition(".")[0]
    return ""


# --- what the classes say ----------------------------------------------------------------------------------------


def _explained(file: ConfigFile, values: Mapping[str, str], commented: Mapping[str, str], root: Path) -> ConfigFile:
    """A file with what the classes say of its keys put before its own comments.

    Args:
        file: as read.
        values: name of a key -> its value as written, of all files; the file's own values go before them.
        commented: name of a key -> its comment in some file, for a key without any meaning here.
        root: of the repository.
    """
    own = {**values, **{key.name: key.default for key in file.keys}}
    said = {name: meaning for mapping in _mappings(file) for name, meaning in _said(mapping, own, root).items()}

    def explained(key: Key) -> Key:
        parts = [part for part in (said.get(key.name, ""), key.meaning) if part] or [commented.get(key.name, "")]
        return replace(key, meaning="; ".join(dict.fromkeys(part.rstrip(".") for part in parts)))

    return replace(file, keys=tuple(explained(key) for key in file.keys))


def _mappings(file: ConfigFile) -> list[str]:
    return list(dict.fromkeys(key.name.rpartition(".")[0] for key in file.keys))


def _said(mapping: str, values: Mapping[str, str], root: Path) -> dict[str, str]:
    """Name of a key in a mapping -> what Hydra or the class that gets it says of it."""
    target = _resolved(values.get(f"{mapping}._target_", READERS.get(mapping, "")), values)
    meanings = parameter_meanings(target, root) if target else {}
    built = ": ".join(filter(None, (BUILT, definition_says(target, root) if target else "")))
    return {
        f"{mapping}.{name}": meaning for name, meaning in {**meanings, "_target_": built, "_partial_": LATER}.items()
    }


def _resolved(text: str, values: Mapping[str, str]) -> str:
    """A value with the keys that it names put in: `${dataset_path}.OCRDataset`."""
    return _INTERPOLATION.sub(lambda found: values.get(found[1], ""), text)
