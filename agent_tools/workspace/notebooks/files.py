"""Notebook files: read with a check, chosen cells, and outputs written back with the rest of the file as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4.rwbase import split_lines
from nbformat.validator import iter_validate

from agent_tools.records.errors import WorkbenchError
from agent_tools.records.store import write_atomically

FILE_BYTES = 64 << 20
CURRENT_FORMAT = 4
IDENTIFIED_CELLS = (5,)
"""Minor versions of format 4 whose cells must have an id."""
SKIPPED = "skip-execution"

_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
_INDENT = re.compile(r'\{\r?\n([ \t]+)"')


class NotebookFileError(WorkbenchError):
    """A file that is no notebook, or cells that it does not have."""


@dataclass(frozen=True)
class NotebookFile:
    """A notebook as it was read.

    Attributes:
        path: the file.
        data: its bytes, by which a change meanwhile is noticed.
        stored: its JSON.
        notebook: the same in the current format.
    """

    path: Path
    data: bytes
    stored: dict[str, Any]
    notebook: nbformat.NotebookNode

    @classmethod
    def read(cls, path: Path) -> NotebookFile:
        """Read and check a notebook.

        Raises:
            NotebookFileError: it is too large, no notebook, invalid (the place is named), or not for Python.
        """
        if path.stat().st_size > FILE_BYTES:
            raise NotebookFileError(f"{path.name} is larger than {FILE_BYTES >> 20} MiB; clear its outputs first.")
        data = path.read_bytes()
        stored = _parsed(path.name, data)
        notebook = _checked(path.name, stored)
        _check_language(path.name, notebook)
        return cls(path, data, stored, notebook)

    def chosen(self, cells: str) -> list[int]:
        """Return the numbers of the code cells in `cells`, such as `0,2-4`; '' chooses all.

        Raises:
            NotebookFileError: it is written otherwise, or names cells that are not there or hold no code.
        """
        count = len(self.notebook.cells)
        numbers = range(count) if not cells else _numbers(cells, count)
        code = [number for number in numbers if _can_run(self.notebook.cells[number])]
        if not code:
            which = f"cells '{cells}' of {self.path.name}" if cells else self.path.name
            others = [str(number) for number in range(count) if _can_run(self.notebook.cells[number])]
            raise NotebookFileError(f"There is no code to run in {which}; that is in: {', '.join(others) or 'none'}.")
        return code

    def save(self, numbers: Iterable[int]) -> str:
        """Write the outputs of these cells into the file; return why not, or ''. All else in it stays as it is."""
        if self.stored["nbformat"] != CURRENT_FORMAT:
            return f"not saved: {self.path.name} has format {self.stored['nbformat']}; convert it to 4 first"
        changed = json.loads(self.data)
        for number in numbers:
            cell = _split(self.notebook.cells[number])
            changed["cells"][number] |= {"execution_count": cell["execution_count"], "outputs": cell["outputs"]}
        if problem := _problem(changed):
            return f"not saved: the outputs do not fit the format ({problem})"
        if not self.path.is_file() or self.path.read_bytes() != self.data:
            return f"not saved: {self.path.name} was changed by someone else while it ran"
        write_atomically(self.path, self._written(changed))
        return ""

    def _written(self, changed: dict[str, Any]) -> bytes:
        """Write JSON as this file has it: indentation, escapes and the newline at its end."""
        text = self.data.decode("utf-8")
        found = _INDENT.match(text)
        escaped = text.isascii() and "\\u" in text
        written = json.dumps(changed, ensure_ascii=escaped, indent=found[1] if found else None)
        # A lone half of a surrogate pair is no UTF-8; its escape is JSON.
        return (written + ("\n" if text.endswith("\n") else "")).encode("utf-8", errors="backslashreplace")


def _parsed(name: str, data: bytes) -> dict[str, Any]:
    try:
        stored = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotebookFileError(f"{name} is no notebook: it is not JSON ({str(error)[:120]}).") from error
    numbers = [stored.get(key) if isinstance(stored, dict) else None for key in ("nbformat", "nbformat_minor")]
    if not all(isinstance(number, int) for number in numbers):
        raise NotebookFileError(f"{name} is no notebook: it has no numbers 'nbformat', 'nbformat_minor'.")
    return stored


def _checked(name: str, stored: dict[str, Any]) -> nbformat.NotebookNode:
    given = stored["nbformat"]
    if not 3 <= given <= CURRENT_FORMAT:
        raise NotebookFileError(f"{name} has format {given}; 3 and {CURRENT_FORMAT} can be run.")
    if problem := _problem(stored):
        raise NotebookFileError(f"{name} is not a valid notebook: {problem}.")
    return nbformat.convert(nbformat.reader.reads(json.dumps(stored)), CURRENT_FORMAT)


def _problem(stored: dict[str, Any]) -> str:
    """Say where a notebook leaves the schema of its format, or ''; cells without an id are common, and let pass."""
    checked = json.loads(json.dumps(stored))
    cells = checked.get("cells")
    if checked["nbformat_minor"] in IDENTIFIED_CELLS and isinstance(cells, list):
        for cell in filter(lambda one: isinstance(one, dict), cells):
            cell.setdefault("id", "none")
    try:
        error = next(iter_validate(checked), None)
    except TypeError:
        # nbformat explains an error with the name of its type, which it takes for a text.
        return "cells: a cell_type or output_type is no text"
    if error is None:
        return ""
    place = "/".join(map(str, error.absolute_path))
    return f"{place or 'top'}: {error.message.splitlines()[0][:160]}"


def _check_language(name: str, notebook: nbformat.NotebookNode) -> None:
    metadata = notebook.metadata
    languages = {
        str(metadata.get("kernelspec", {}).get("language") or "python").lower(),
        str(metadata.get("language_info", {}).get("name") or "python").lower(),
    }
    if others := languages - {"python", "ipython"}:
        raise NotebookFileError(f"{name} is written in {others.pop()[:40]}; only Python notebooks can be run.")


def _numbers(cells: str, count: int) -> list[int]:
    numbers: list[int] = []
    for part in cells.replace(" ", "").split(","):
        found = _RANGE.fullmatch(part)
        if not found:
            raise NotebookFileError(f"cells is '{cells}'; write numbers and ranges such as 0,2-4, or '' for all.")
        first, last = int(found[1]), int(found[2] or found[1])
        if first > last or last >= count:
            raise NotebookFileError(f"cells is '{cells}', but the notebook has cells 0-{count - 1}, counted in order.")
        numbers += range(first, last + 1)
    return list(dict.fromkeys(numbers))


def _can_run(cell: nbformat.NotebookNode) -> bool:
    return cell.cell_type == "code" and cell.source.strip() != "" and SKIPPED not in cell.metadata.get("tags", [])


def _split(cell: nbformat.NotebookNode) -> dict[str, Any]:
    """A cell as files have it: long texts are lists of lines."""
    copied = nbformat.from_dict({"cells": [json.loads(json.dumps(cell))]})
    split: dict[str, Any] = split_lines(copied)["cells"][0]
    return split
