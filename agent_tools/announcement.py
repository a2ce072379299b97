"""How the tools are announced to an assistant: names, hints, descriptions and schemas, as short as they can be.

`tools_list.json` holds what is announced, so that the server's first answer waits for no tool's module, and so that
every change of what assistants see is a visible change of a file. `python -m agent_tools.announcement` writes it anew.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import create_model

from agent_tools import catalog
from agent_tools.records.errors import WorkbenchError
from agent_tools.tool import Tool

LIST = Path(__file__).parent / "tools_list.json"
DEFAULT_TOOLSET = "default"
ALL_TOOLSETS = "all"


class ToolsetError(WorkbenchError):
    """A toolset that there is not, or a tool that is not served."""


def announced(tool: Tool) -> dict[str, Any]:
    """One entry of `tools/list`, made from the function."""
    return {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": _input_schema(tool),
        "outputSchema": _output_schema(tool),
        "annotations": {
            "readOnlyHint": tool.read_only,
            "destructiveHint": tool.destructive,
            "idempotentHint": tool.idempotent,
            "openWorldHint": tool.open_world,
        },
    }


def announcements(tools: Iterable[Tool]) -> list[dict[str, Any]]:
    """The entries of these tools, from the file; a tool that it does not know yet is described by its function."""
    kept = {entry["name"]: entry for entry in json.loads(LIST.read_bytes())}
    return [kept.get(tool.name) or announced(tool) for tool in tools]


def list_text() -> str:
    """What the file has to hold."""
    entries = [announced(tool) for tool in catalog.CATALOG if tool.surface == "mcp"]
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


def served_tools(toolsets: Iterable[str], read_only: bool) -> list[Tool]:
    """The tools of the default toolset and of those named, without the writing ones where only reading is allowed.

    Raises:
        ToolsetError: there is no such toolset; the nearest and all are named.
    """
    known = {tool.toolset: None for tool in catalog.CATALOG if tool.surface == "mcp"}
    wanted = {DEFAULT_TOOLSET}
    for name in toolsets:
        if name not in known and name != ALL_TOOLSETS:
            near = difflib.get_close_matches(name, [*known, ALL_TOOLSETS], n=1, cutoff=0.4)
            hint = f"did you mean '{near[0]}'? There are" if near else "there are"
            raise ToolsetError(f"There is no toolset '{name}': {hint} {', '.join(known)}, and '{ALL_TOOLSETS}'.")
        wanted |= set(known) if name == ALL_TOOLSETS else {name}
    on_server = (tool for tool in catalog.CATALOG if tool.surface == "mcp" and tool.toolset in wanted)
    return [tool for tool in on_server if tool.read_only or not read_only]


def not_served(tool: Tool) -> ToolsetError:
    """Say why a tool of the catalogue is not served, and what to do."""
    if tool.surface != "mcp":
        return ToolsetError(f"{tool.name} is a command only: `{tool.command_line}`.")
    if tool.toolset == DEFAULT_TOOLSET:
        return ToolsetError(f"{tool.name} writes, and this server only reads: it was started with --read-only.")
    return ToolsetError(
        f"{tool.name} is not served: it is in the toolset '{tool.toolset}' (`agent-tools serve --toolsets "
        f"{tool.toolset}`){'' if tool.read_only else ' and writes, which --read-only forbids'}."
    )


def _input_schema(tool: Tool) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: (given.annotation, ... if given.default is given.empty else given.default)
        for name, given in tool.offered.items()
    }
    schema = _trimmed(create_model("arguments", **fields).model_json_schema())
    return schema | {"additionalProperties": False}


def _output_schema(tool: Tool) -> dict[str, Any]:
    """Types and meanings of the fields. Every field is always there, so that none has to be called required."""
    schema = tool.result.model_json_schema()
    fields = {name: _without_row_types(_trimmed(part)) for name, part in schema["properties"].items()}
    return {"type": "object", "properties": fields}


def _trimmed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out titles that pydantic derives from names and empty defaults: a third of the list, no information."""
    kept = {key: value for key, value in schema.items() if key != "title" and (key != "default" or value)}
    if kept.get("const") is True:
        kept = {key: value for key, value in kept.items() if key not in ("default", "type")}
    if "properties" in kept:
        kept["properties"] = {name: _trimmed(part) for name, part in kept["properties"].items()}
    if isinstance(kept.get("items"), dict):
        kept["items"] = _trimmed(kept["items"])
    return kept


def _without_row_types(part: dict[str, Any]) -> dict[str, Any]:
    """Rows are objects whose keys the description names; that their values are strings helps nobody."""
    kept = {key: value for key, value in part.items() if key != "additionalProperties"}
    return kept | {"items": _without_row_types(kept["items"])} if "items" in kept else kept


if __name__ == "__main__":
    LIST.write_text(list_text(), "utf-8")
