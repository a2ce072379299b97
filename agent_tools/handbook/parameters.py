"""What a class or function says of the parameters that a configuration gives it, read from its source."""

from __future__ import annotations

import ast
from pathlib import Path

from agent_tools.handbook.python_source import (
    Function,
    Source,
    documented,
    field_description,
    fields,
    find_module,
    first_paragraph,
    read_source,
)


def parameter_meanings(name: str, root: Path) -> dict[str, str]:
    """Parameter -> meaning, of `ocr.datasets.schemas.CacheConfig` and the like; {} for what lies outside of the root.

    Raises:
        DocumentError: the file is not Python.
    """
    found = _find(name, root)
    if found is None:
        return {}
    node, source = found
    if isinstance(node, Function):
        return documented(ast.get_docstring(node) or "")
    inherited: dict[str, str] = {}
    for base in node.bases:
        inherited |= parameter_meanings(_where_defined(source.segment(base), source), root)
    return inherited | _of_class(node)


def definition_says(name: str, root: Path) -> str:
    """The first paragraph of the docstring of a class or function; '' for what lies outside of the root.

    Raises:
        DocumentError: the file is not Python.
    """
    found = _find(name, root)
    return first_paragraph(found[0]) if found is not None else ""


def _of_class(node: ast.ClassDef) -> dict[str, str]:
    made = (one for one in node.body if isinstance(one, Function) and one.name == "__init__")
    texts = [ast.get_docstring(node) or "", *(ast.get_docstring(one) or "" for one in made)]
    written = {name: meaning for text in texts for name, meaning in documented(text).items()}
    described = {name: meaning for name, meaning in map(field_description, fields(node)) if meaning}
    return written | described


def _find(name: str, root: Path) -> tuple[ast.ClassDef | Function, Source] | None:
    """The definition of a name, followed through the packages that pass it on."""
    module, _, last = name.rpartition(".")
    path = find_module(module, root) if module else None
    if path is None:
        return None
    source = read_source(path, root)
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef | Function) and node.name == last:
            return node, source
    elsewhere = _where_defined(last, source)
    return _find(elsewhere, root) if elsewhere != name else None


def _where_defined(name: str, source: Source) -> str:
    """The full name of what a module calls `name`: of another module where it was imported from there."""
    for node in source.tree.body:
        if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
            return f"{node.module}.{name}"
    return f"{source.name}.{name}"
