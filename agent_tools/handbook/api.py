"""What somebody extends or calls in the code, as plain data for the page that lists it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent_tools.handbook.python_source import (
    Function,
    Source,
    decorators,
    field_line,
    fields,
    first_paragraph,
    read_source,
    signature,
)

LISTED = (
    "agent_tools/catalog.py",
    "agent_tools/records/store.py",
    "agent_tools/records/schema.py",
    "agent_tools/measure/statistics.py",
    "agent_tools/handbook/blocks.py",
    "agent_tools/handbook/figures.py",
    "ocr/datasets/*.py",
    "ocr/metrics/*.py",
    "ocr/models/postprocess.py",
    "ocr/utils/cache_manager.py",
)
"""The modules of the page, in its order; `*` stands for every module of a room."""


def read_api(root: Path) -> list[dict[str, Any]]:
    """Every listed module: its name, path, first paragraph, and its public functions, classes and methods.

    Raises:
        DocumentError: a module of the list is gone, or is not Python.
    """
    paths = [
        path for pattern in LISTED for path in (sorted(root.glob(pattern)) if "*" in pattern else [root / pattern])
    ]
    modules = [_module(read_source(path, root), path.relative_to(root).as_posix()) for path in paths]
    return [module for module in modules if module["members"]]


def _module(source: Source, path: str) -> dict[str, Any]:
    members = [member for node in source.tree.body for member in _members(node, source)]
    return {"name": source.name, "path": path, "says": first_paragraph(source.tree), "members": members}


def _members(node: ast.stmt, source: Source) -> Iterator[dict[str, str]]:
    if isinstance(node, Function) and not node.name.startswith("_"):
        yield _member(node.name + signature(node, source), node)
    elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
        yield _member(node.name + _made_from(node, source), node)
        methods = (one for one in node.body if isinstance(one, Function) and not one.name.startswith("_"))
        yield from (_member(f"{node.name}.{_method(one, source)}", one) for one in methods)


def _member(call: str, node: Function | ast.ClassDef) -> dict[str, str]:
    return {"call": call, "says": first_paragraph(node)}


def _method(node: Function, source: Source) -> str:
    if {"property", "cached_property"} & set(decorators(node)):
        return f"{node.name}: {source.segment(node.returns)}" if node.returns is not None else node.name
    return node.name + signature(node, source, method=True)


def _made_from(node: ast.ClassDef, source: Source) -> str:
    """What an object of a class is made from: its constructor's parameters, or the fields that it declares."""
    for one in node.body:
        if isinstance(one, Function) and one.name == "__init__":
            return signature(one, source, method=True).removesuffix(" -> None")
    declared = [field_line(field, source) for field in fields(node)]
    return f"({', '.join(declared)})" if declared else ""
