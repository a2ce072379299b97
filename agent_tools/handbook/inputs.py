"""Which files a document is made from, found from its header alone. Standard library only, as `blocks`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from agent_tools.handbook.blocks import DocumentError, Header, files_digest

ACCEPTED = "accepted.json"
"""Beside the sessions under `logs/`: which record was accepted, itself no record."""

HEADER_VALUES: dict[str, set[str]] = {
    "findings": {"record"},
    "changelog": {"record"},
    "current_state": {"records", "plans"},
    "judge": {"simulations"},
    "performance": {"records"},
    "handover": {"handover"},
    "history": {"records"},
    "configuration": {"configs"},
    "tools": set(),
    "gates": set(),
    "api": set(),
    "architecture": set(),
}
"""Per kind of document, what its header names: paths relative to the document's folder."""
FROM_CODE: frozenset[str] = frozenset({"tools", "gates", "api", "architecture"})
"""Kinds that are made from facts about the code, whose digest only `agent-tools docs check` can calculate."""

RECORD_OF_A_SESSION = re.compile(r"(?:\.\./[^/]+/)?records/[^/]+\.json")
"""How a handover names the records that it shows: its own session's, or those of one beside it."""


def record_files(folder: Path) -> list[Path]:
    """Record files in a folder of records (`ID.json`) or of sessions (`*/records/ID.json`), sorted by id."""
    found = {*folder.glob("*.json"), *folder.glob("*/records/*.json")}
    kept = (path for path in found if not path.name.startswith(".") and path.name != ACCEPTED)
    return sorted(kept, key=lambda path: (path.name, path))


def newest_simulation(folder: Path) -> Path | None:
    """The newest simulation record in such a folder, by its id; None where there is none."""
    return max(
        (path for path in record_files(folder) if "-simulation-" in path.name), key=lambda path: path.name, default=None
    )


def has_benchmark(folder: Path) -> bool:
    """Whether such a folder holds a benchmark, by the names of its files: then there is a page about performance."""
    return any("-benchmark-" in path.name for path in record_files(folder))


def handover_files(path: Path) -> list[Path]:
    """What a handover's page is made from: its file, and the records that the file names.

    Raises:
        DocumentError: the file or a record is gone, or the file does not say which records it names.
    """
    if not path.is_file():
        raise DocumentError(f"its {path.name} is gone; restore it, or delete the document.")
    try:
        named = [str(entry["path"]) for entry in json.loads(path.read_bytes())["records"] if entry["path"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DocumentError(f"its {path.name} cannot be read; restore it with `git checkout`.") from error
    records = [_below(path.parent, name) for name in named if RECORD_OF_A_SESSION.fullmatch(name)]
    if len(records) < len(named):
        raise DocumentError(f"its {path.name} names records outside of logs/; restore it with `git checkout`.")
    gone = [record.name for record in records if not record.is_file()]
    if gone:
        raise DocumentError(f"its record {gone[0]} is gone; restore it, or delete the document.")
    return [path, *records]


def history_files(folder: Path) -> list[Path]:
    """The records of such a folder that tell the project's history: measured lines of commits and reported figures."""
    return [path for path in record_files(folder) if "-history-" in path.name or "-reported-" in path.name]


def configuration_files(folder: Path) -> list[Path]:
    """The YAML files of a configuration folder, by path."""
    return sorted(folder.rglob("*.yaml"))


def plan_files(folder: Path) -> list[Path]:
    """The plan files of a ledger, by name; none when the folder does not exist."""
    return sorted(path for path in folder.glob("*.md") if path.name != "README.md")


FILES_BELOW: dict[str, Callable[[Path], list[Path]]] = {
    "performance": record_files,
    "history": history_files,
    "configuration": configuration_files,
}
"""Kinds whose header names one folder -> the files below it that they are made from."""


def document_inputs(header: Header, folder: Path, facts_digest: str | None = None) -> dict[str, str]:
    """Digest per group of inputs of a document in `folder`; `all` covers everything it is made from.

    Args:
        header: of the document.
        folder: in which it stands.
        facts_digest: for a kind of `FROM_CODE`; without it nothing is said of such a document.

    Raises:
        DocumentError: no template makes such a document, or its record is gone.
    """
    if set(header.values) != HEADER_VALUES.get(header.document):
        named = ", ".join(sorted(header.values)) or "nothing"
        raise DocumentError(f"no template makes a document '{header.document}' from {named}.")
    if header.document in FROM_CODE:
        return {"all": facts_digest} if facts_digest is not None else {}
    if header.document in {"findings", "changelog"}:
        record = _below(folder, header.values["record"])
        if not record.is_file():
            raise DocumentError(f"its record {header.values['record']} is gone; restore it, or delete the document.")
        return {"all": files_digest([record], folder)}
    if header.document == "handover":
        return {"all": files_digest(handover_files(_below(folder, header.values["handover"])), folder)}
    if header.document == "judge":
        simulation = newest_simulation(_below(folder, header.values["simulations"]))
        if simulation is None:
            raise DocumentError("no simulation record is left; restore one, or delete the document.")
        return {"all": files_digest([simulation], folder)}
    if header.document in FILES_BELOW:
        (named,) = header.values.values()
        return {"all": files_digest(FILES_BELOW[header.document](_below(folder, named)), folder)}
    records = record_files(_below(folder, header.values["records"]))
    plans = plan_files(_below(folder, header.values["plans"]))
    return {
        "records": files_digest(records, folder),
        "plans": files_digest(plans, folder),
        "all": files_digest([*records, *plans], folder),
    }


def _below(folder: Path, value: str) -> Path:
    # `..` is taken out of the name: before the first render the document's folder may not exist to be left again
    return Path(os.path.normpath(folder / value))
