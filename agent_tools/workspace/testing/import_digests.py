"""What a test file rests on before any of its tests runs, as one digest per file.

A tracer that starts with the first test cannot see what importing did: a changed constant, field, decorator or default
would leave the tests that use it unselected. So everything that runs at import is digested here: the code outside of
function bodies in every module of the project that the file imports, however indirectly, and the bodies of functions
and classes that this code calls. In files of the tests, texts that name a module or a file of the project count too:
those are the programs that tests start and the data that they read.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_tools.workspace.python_syntax import UNPARSABLE, parse_python

DIGESTS_VARIABLE = "AGENT_TOOLS_IMPORT_DIGESTS"
"""Names the file that holds the digest of each test file as it was when all of its tests last ran."""

_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_FILE = re.compile(r"[\w][\w./-]*\.\w+")
_TEST_FILE = re.compile(r"(?:^|/)(?:tests?/.*|test_[^/]*|[^/]*_test|conftest)\.py$")
_WRITTEN_BY_RUNS = ("outputs/", ".")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class _Source:
    """One file: `imports` are (level, module) pairs, `definitions` (name, digest, names that it calls)."""

    whole: str
    at_import: str = ""
    calls: frozenset[str] = frozenset()
    imports: tuple[tuple[int, str], ...] = ()
    definitions: tuple[tuple[str, str, frozenset[str]], ...] = ()
    texts: tuple[str, ...] = ()


@dataclass
class ImportDigests:
    """Digests of test files under one root; every source is read once."""

    root: Path
    _sources: dict[Path, _Source] = field(default_factory=dict)
    _imported: dict[Path, tuple[Path, ...]] = field(default_factory=dict)

    def digest(self, test_file: Path) -> str:
        """Return the digest of a test file: equal as long as nothing changed that runs when it is imported."""
        imported = self._closure([test_file, *self._conftests(test_file)])
        started, data = self._named(imported)
        parts = [f"{self._name(path)} {self._source(path).at_import}" for path in sorted(imported)]
        parts += sorted(self._called_at_import(imported))
        parts += [f"{self._name(path)} {self._source(path).whole}" for path in sorted(self._closure(started))]
        parts += [f"{self._name(path)} {_hash(path.read_bytes())}" for path in sorted(data)]
        return _hash("\n".join(parts).encode())

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _source(self, path: Path) -> _Source:
        if path not in self._sources:
            self._sources[path] = _read(path)
        return self._sources[path]

    def _conftests(self, test_file: Path) -> list[Path]:
        folders = [folder for folder in test_file.parents if folder.is_relative_to(self.root)]
        return [path for folder in folders if (path := folder / "conftest.py").is_file()]

    def _closure(self, start: Iterable[Path]) -> set[Path]:
        found, waiting = set[Path](), list(start)
        while waiting:
            path = waiting.pop()
            if path not in found:
                found.add(path)
                waiting += self._imports(path)
        return found

    def _imports(self, path: Path) -> tuple[Path, ...]:
        if path not in self._imported:
            named = self._source(path).imports
            self._imported[path] = tuple({found for one in named for found in self._resolved(path, *one)})
        return self._imported[path]

    def _resolved(self, path: Path, level: int, module: str) -> Iterator[Path]:
        """The files that importing `module` runs: packages on the way, and the module itself."""
        parts = module.split(".") if module else []
        bases = [path.parents[level - 1]] if level else [self.root, self.root / "src", _import_base(path)]
        for base in dict.fromkeys(bases):
            if not base.is_relative_to(self.root):
                continue
            yield from _files_of(base, parts)

    def _called_at_import(self, imported: set[Path]) -> set[str]:
        """What runs at import inside of functions and classes: found by name, which is never too little."""
        defined: dict[str, list[tuple[str, frozenset[str]]]] = {}
        for path in imported:
            for name, digest, calls in self._source(path).definitions:
                defined.setdefault(name, []).append((digest, calls))
        waiting = {name for path in imported for name in self._source(path).calls}
        reached, digests = set[str](), set[str]()
        while waiting:
            name = waiting.pop()
            reached.add(name)
            for digest, calls in defined.get(name, ()):
                digests.add(f"{name} {digest}")
                waiting |= calls - reached
        return digests

    def _named(self, imported: set[Path]) -> tuple[set[Path], set[Path]]:
        started, data = set[Path](), set[Path]()
        for path in imported:
            for text in self._source(path).texts if _TEST_FILE.search(self._name(path)) else ():
                if _MODULE.fullmatch(text):
                    started.update(_files_of(self.root, text.split(".")))
                if _FILE.fullmatch(text) and not text.startswith(_WRITTEN_BY_RUNS) and ".." not in text:
                    beside = (self.root / text, path.parent / text)
                    data.update(file for file in beside if file.is_file() and file.is_relative_to(self.root))
        return started, data


def _files_of(base: Path, parts: list[str]) -> list[Path]:
    """Every file that runs for `import a.b.c` from `base`; none unless the last part that exists is a module."""
    found, place = [], base
    for part in parts:
        place = place / part
        for candidate in (place / "__init__.py", place.with_name(f"{part}.py")):
            if candidate.is_file():
                found.append(candidate)
                break
        if not place.is_dir():
            break
    return found


def _import_base(path: Path) -> Path:
    """The folder that pytest puts on the path for a file: the first one above that is no package."""
    folder = path.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def _read(path: Path) -> _Source:
    try:
        data = path.read_bytes()
    except OSError:
        return _Source(whole="")
    try:
        tree = parse_python(data)
    except UNPARSABLE:
        return _Source(whole=_hash(data), at_import=_hash(data))
    nodes = list(ast.walk(tree))
    lines = data.splitlines()
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return _Source(
        whole=_hash(data),
        imports=tuple(_imported(nodes)),
        definitions=tuple(_definition(node, lines) for node in nodes if isinstance(node, (*_FUNCTIONS, ast.ClassDef))),
        texts=tuple(text for text in texts if 2 < len(text) < 200),
        # Last: it empties the functions.
        **_at_import(tree, nodes),
    )


def _definition(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, lines: list[bytes]
) -> tuple[str, str, frozenset[str]]:
    return node.name, _hash(b"\n".join(lines[node.lineno - 1 : node.end_lineno])), _calls(ast.walk(node))


def _at_import(tree: ast.Module, nodes: Iterable[ast.AST]) -> dict[str, Any]:
    for node in nodes:
        if isinstance(node, _FUNCTIONS):
            # What a function says of itself is data to whoever imports it; what it does is not done yet.
            has_words = ast.get_docstring(node, clean=False) is not None
            node.body = node.body[:1] if has_words else []
    return {"at_import": _hash(ast.dump(tree).encode()), "calls": _calls(ast.walk(tree))}


def _calls(nodes: Iterable[ast.AST]) -> frozenset[str]:
    """Names of what is called, decorators and base classes included, whatever they are called on."""
    names = set[str]()
    for node in nodes:
        called = [node.func] if isinstance(node, ast.Call) else []
        called += getattr(node, "decorator_list", []) + getattr(node, "bases", [])
        names.update(name for part in called if (name := getattr(part, "attr", getattr(part, "id", ""))))
    return frozenset(names)


def _imported(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                # The name may be a module of its own.
                yield node.level, ".".join(filter(None, [node.module, alias.name]))
