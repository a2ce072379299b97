"""The one table of tools: what the server offers, the command line has under the same name.

To add a tool: write the function (typed parameters with descriptions, a flat `ToolResult`, `WorkbenchError` for what
can go wrong) and add its row here. Whoever calls fills in parameters called `root`, `report`, `progress`, `cancel`,
`resume_with` or `facts` (this table as plain data). A tool with a `foreground` starts a job on the server and does the
work itself on the command line.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import json
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal, get_args, get_origin

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

import agent_tools.workflows
import agent_tools.workspace
from agent_tools.later import Later
from agent_tools.records.errors import WorkbenchError
from agent_tools.results import CommandOnly, ToolResult
from agent_tools.tool_parameters import described
from agent_tools.workspace.root import Root

workflows = Later(agent_tools.workflows)
workspace = Later(agent_tools.workspace)

INJECTED = ("root", "report", "progress", "cancel", "resume_with", "facts")

Surface = Literal["mcp", "cli", "hidden"]
"""`mcp`: server (where its toolset is served) and command line; `cli`: command line only; `hidden`: not in its help."""

Report = Callable[[float, float | None, str], Awaitable[None]]
Progress = Callable[[int, int, str], None]


class ArgumentError(WorkbenchError):
    """Arguments that a tool does not have, or values that it does not take."""


class UnknownTool(WorkbenchError):
    """No tool has this name; the sentence names the nearest."""


class _Arguments(BaseModel):
    # Strict: true is no number, and 1 is not yes.
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, strict=True)


@dataclass(frozen=True)
class Tool:
    """One row: a function, how it is announced, and where it is offered."""

    name: str
    work: Callable[..., Any] | Later
    title: str
    read_only: bool
    destructive: bool = False
    idempotent: bool = False
    open_world: bool = False
    toolset: str = "default"
    surface: Surface = "mcp"
    foreground: Callable[..., Any] | Later | None = None

    @property
    def command(self) -> Tool:
        """The tool as the command line has it."""
        return replace(self, work=self.foreground, foreground=None) if self.foreground else self

    @cached_property
    def function(self) -> Callable[..., Any]:
        """What does the work; the first look imports its module."""
        return self.work.resolved() if isinstance(self.work, Later) else self.work

    @property
    def command_line(self) -> str:
        """How it is called in a shell: `agent-tools git status`."""
        return " ".join(filter(None, ("agent-tools", self.noun, self.verb)))

    @property
    def hints(self) -> list[str]:
        """What a caller should know before calling it, in words."""
        said = {
            "read-only": self.read_only,
            "writes": not self.read_only,
            "destructive": self.destructive,
            "idempotent": self.idempotent,
            "open world": self.open_world,
        }
        return [hint for hint, holds in said.items() if holds]

    @property
    def noun(self) -> str:
        """The group: `git` of `git_status`."""
        return self.name.partition("_")[0]

    @property
    def verb(self) -> str:
        """The command in its group: `status` of `git_status`; '' where the noun is the command."""
        return self.name.partition("_")[2]

    @property
    def description(self) -> str:
        """The function's docstring up to its sections."""
        return inspect.cleandoc(self.function.__doc__ or "").partition("\n\nRaises:")[0]

    @cached_property
    def signature(self) -> inspect.Signature:
        """The whole signature, with evaluated annotations."""
        return inspect.signature(self.function, eval_str=True)

    @property
    def result(self) -> type[ToolResult]:
        """The model that the function returns."""
        model = self.signature.return_annotation
        if not (isinstance(model, type) and issubclass(model, ToolResult)):
            raise TypeError(f"{self.name} returns {model}, not a ToolResult")
        return model

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters that a caller gives."""
        return {name: given for name, given in self.signature.parameters.items() if name not in INJECTED}

    @cached_property
    def offered(self) -> dict[str, inspect.Parameter]:
        """The parameters that a client of the server may give: all but those marked `CommandOnly`."""
        return {name: given for name, given in self.parameters.items() if not _is_command_only(given)}

    @cached_property
    def _model(self) -> type[BaseModel]:
        fields: dict[str, Any] = {
            name: (given.annotation, ... if given.default is given.empty else given.default)
            for name, given in self.parameters.items()
        }
        return create_model(f"{self.name}_arguments", __base__=_Arguments, **fields)

    def check_offered(self, arguments: Mapping[str, Any]) -> None:
        """Check what a client of the server gives.

        Raises:
            ArgumentError: as `check` does, and where only the command line takes an argument.
        """
        for name in arguments:
            if name in self.parameters and name not in self.offered:
                flag = name.replace("_", "-")
                raise ArgumentError(
                    f"{self.name} takes {name!r} on the command line only: `{self.command_line} --{flag}`. "
                    f"Here it has: {', '.join(self.offered)}."
                )
        self.check(arguments)

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments, validated and complete.

        Raises:
            ArgumentError: an unknown name (the nearest valid one is given), a missing one, or an unusable value.
        """
        for name in arguments:
            if name not in self.parameters:
                raise ArgumentError(self._unknown(name))
        try:
            model = self._model.model_validate({name: self._parsed(name, arguments[name]) for name in arguments})
        except ValidationError as error:
            raise ArgumentError(_sentence(self.name, error)) from error
        return {name: getattr(model, name) for name in self.parameters}

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self.parameters, n=1, cutoff=0.4)
        valid = ", ".join(self.parameters)
        return f"{self.name} has no argument {name!r}{f'; did you mean {near[0]!r}' if near else ''}? It has: {valid}."

    def _parsed(self, name: str, value: Any) -> Any:
        """Some clients send a list or a number as its JSON text, and a whole number as a float: that is understood."""
        wanted = self._model.model_fields[name].annotation
        is_list = get_origin(wanted) is tuple
        if isinstance(value, str) and (is_list or wanted in (bool, int, float)):
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(value)
        if isinstance(value, float) and wanted is int and value.is_integer():
            return int(value)
        return tuple(value) if isinstance(value, list) and is_list else value


def _is_command_only(given: inspect.Parameter) -> bool:
    return CommandOnly in get_args(given.annotation)


def _sentence(tool: str, error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"{tool} needs the argument {place!r}."
    given = repr(first["input"])
    wrong = first["msg"].lower().replace("tuple", "list")
    return f"{tool}: {place} is {given if len(given) < 80 else given[:77] + '...'}; {wrong}."


def find(name: str) -> Tool:
    """Return the tool of this name.

    Raises:
        UnknownTool: there is none; the nearest are named.
    """
    for tool in CATALOG:
        if tool.name == name:
            return tool
    near = difflib.get_close_matches(name, [tool.name for tool in CATALOG if tool.surface == "mcp"], n=3, cutoff=0.4)
    raise UnknownTool(f"There is no tool {name!r}; {_nearest(near)}.")


def _nearest(names: list[str]) -> str:
    return f"the nearest are {', '.join(names)}" if names else "tools/list names all"


def tool_facts() -> list[dict[str, Any]]:
    """Every tool as JSON-ready data, for the page that lists them: names, command line, hints, parameters."""
    return [_facts(tool) for tool in CATALOG]


def _facts(tool: Tool) -> dict[str, Any]:
    parameters = described(tool.command.parameters.values())
    return {
        "name": tool.name,
        "title": tool.title,
        "command": tool.command_line,
        "usage": " ".join([tool.command_line, "[OPTIONS]", *(given.word for given in parameters if given.is_word)]),
        "surface": tool.surface,
        "toolset": tool.toolset,
        "hints": tool.hints,
        "paragraphs": [" ".join(paragraph.split()) for paragraph in tool.description.split("\n\n")],
        "parameters": [given.row() for given in parameters],
    }


async def call(
    tool: Tool,
    root: Root,
    arguments: Mapping[str, Any],
    report: Report | None = None,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    resume_with: Callable[[list[str]], None] | None = None,
) -> ToolResult:
    """Check the arguments and run the tool; a function that is not async runs on a thread.

    Args:
        tool: the row.
        root: what it works on.
        arguments: by name, as the caller gave them.
        report: takes progress inside of a call.
        progress: takes progress of work that runs in the foreground for minutes.
        cancel: ends such work once it is set.
        resume_with: told the words of the command that goes on with such work after an interruption.

    Raises:
        WorkbenchError: anything that the caller can understand and mend.
    """
    injected: dict[str, Any] = {
        "root": root,
        "report": report,
        "progress": progress,
        "cancel": cancel,
        "resume_with": resume_with,
    }
    known = tool.signature.parameters
    if "facts" in known:
        injected["facts"] = {"tools": tool_facts()}
    given = tool.check(arguments) | {name: value for name, value in injected.items() if name in known}
    if inspect.iscoroutinefunction(tool.function):
        result = await tool.function(**given)
    else:
        result = await anyio.to_thread.run_sync(partial(tool.function, **given))
    assert isinstance(result, ToolResult)  # noqa: S101 - the table's test holds every row to it
    return result


CATALOG: tuple[Tool, ...] = (
    Tool("train_run", workflows.training.train_run, "Start a training", read_only=False),
    Tool(
        "config_show",
        workflows.training.config_show,
        "Show the resolved configuration",
        read_only=True,
        idempotent=True,
    ),
    Tool(
        "features_check", workflows.training.features_check, "Check requested features", read_only=True, idempotent=True
    ),
    Tool("bench_run", workflows.comparing.bench_run, "Start a benchmark", read_only=False),
    Tool(
        "bench_compare",
        workflows.comparing.bench_compare,
        "Compare two sides",
        read_only=False,
        open_world=True,
        foreground=workflows.comparing.compare_now,
    ),
    Tool("record_list", workflows.records.record_list, "List measured records", read_only=True, idempotent=True),
    Tool("record_show", workflows.records.record_show, "Show one record", read_only=True, idempotent=True),
    Tool("profile_run", workflows.measuring.profile_run, "Profile the stages of a run", read_only=False),
    Tool("job_status", workflows.jobs.job_status, "Show jobs", read_only=True, idempotent=True),
    Tool("job_cancel", workflows.jobs.job_cancel, "Cancel a job", read_only=False, destructive=True, idempotent=True),
    Tool("git_status", workspace.git_reading.git_status, "Show uncommitted files", read_only=True, idempotent=True),
    Tool("git_diff", workspace.git_reading.git_diff, "Show changes", read_only=True, idempotent=True),
    Tool("git_log", workspace.git_reading.git_log, "List commits", read_only=True, idempotent=True),
    Tool("git_branch", workspace.git_branches.git_branch, "List or switch branches", read_only=False),
    Tool("git_commit", workflows.committing.git_commit, "Commit paths", read_only=False),
    Tool("test_run", workspace.tests.run_tests, "Run tests", read_only=False, idempotent=True, open_world=True),
    Tool(
        "docs_render",
        workflows.documents.docs_render,
        "Render documents from records",
        read_only=False,
        idempotent=True,
    ),
    Tool(
        "docs_check", workflows.documents.docs_check, "Check documents against records", read_only=True, idempotent=True
    ),
    Tool("session_start", workflows.sessions.session_start, "Start a session", read_only=False, open_world=True),
    Tool("session_note", workflows.sessions.session_note, "Write a note", read_only=False),
    Tool("session_handover", workflows.sessions.session_handover, "Hand a session over", read_only=False),
    Tool("file_read", workspace.files.file_read, "Read a file", read_only=True, idempotent=True),
    Tool("file_find", workspace.finding.file_find, "Find files", read_only=True, idempotent=True),
    Tool("dir_read", workspace.folders.dir_read, "Show a folder", read_only=True, idempotent=True, toolset="files"),
    Tool("context_pack", workspace.pack.context_pack, "Pack files", read_only=True, idempotent=True, toolset="files"),
    Tool("code_search", workspace.search.code_search, "Search code", read_only=True, idempotent=True),
    Tool(
        "code_usages", workspace.code_usages.code_usages, "List uses", read_only=True, idempotent=True, toolset="search"
    ),
    Tool(
        "index_refresh",
        workspace.search.index_refresh,
        "Refresh index",
        read_only=False,
        idempotent=True,
        toolset="search",
    ),
    Tool("bench_ladder", workflows.measuring.bench_ladder, "Measure a ladder here", read_only=False, surface="cli"),
    Tool(
        "bench_bisect",
        workflows.comparing.bench_bisect,
        "Find the commit that made it slower",
        read_only=False,
        surface="cli",
    ),
    Tool(
        "bench_history", workflows.comparing.bench_history, "Measure a line of commits", read_only=False, surface="cli"
    ),
    Tool(
        "bench_check",
        workflows.comparing.bench_check,
        "Check against the accepted record",
        read_only=False,
        surface="cli",
    ),
    Tool("bench_judge", workflows.comparing.bench_judge, "Judge the judge", read_only=False, surface="cli"),
    Tool("bench_tune", workflows.tuning.bench_tune, "Tune the settings here", read_only=False, surface="cli"),
    Tool("bench_gates", workflows.gates.bench_gates, "Measure and show the gates", read_only=False, surface="cli"),
    Tool("bench_fact", workflows.profiling.bench_fact, "Record figures of a command", read_only=False, surface="cli"),
    Tool("profile_stages", workflows.measuring.profile_stages, "Profile here", read_only=False, surface="cli"),
    Tool("profile_limit", workflows.profiling.profile_limit, "Measure the limit here", read_only=False, surface="cli"),
    Tool("profile_whatif", workflows.profiling.profile_whatif, "Measure what-if here", read_only=False, surface="cli"),
    Tool(
        "profile_transforms", workflows.profiling.profile_transforms, "Time transforms", read_only=False, surface="cli"
    ),
    Tool("job_resume", workflows.jobs.job_resume, "Go on with a job", read_only=False, surface="cli"),
    Tool(
        "record_export",
        workflows.records_export.record_export,
        "Export raw samples as CSV",
        read_only=False,
        surface="cli",
    ),
    Tool(
        "record_import",
        workflows.records_entry.record_import,
        "Import another tool's report",
        read_only=False,
        surface="cli",
    ),
    Tool(
        "record_report",
        workflows.records_entry.record_report,
        "Enter a reported figure",
        read_only=False,
        surface="cli",
    ),
    Tool(
        "record_override",
        workflows.records_entry.record_override,
        "Override a recommendation",
        read_only=False,
        surface="cli",
    ),
    Tool("plan_new", workflows.plans.plan_new, "Write a plan into the ledger", read_only=False, surface="cli"),
    Tool("changelog_add", workflows.changelog.changelog_add, "Write a changelog entry", read_only=False, surface="cli"),
    Tool(
        "changelog_release",
        workflows.changelog.changelog_release,
        "Release the changelog",
        read_only=False,
        surface="cli",
    ),
    Tool(
        "hooks_install",
        workspace.hooks.hooks_install,
        "Install git hooks",
        read_only=False,
        idempotent=True,
        surface="cli",
    ),
    Tool(
        "git_restore",
        workspace.git_restoring.git_restore,
        "Discard changes",
        read_only=False,
        destructive=True,
        toolset="git",
    ),
    Tool("test_skeleton", workspace.skeletons.make_skeleton, "Write a test skeleton", read_only=False, toolset="tests"),
    Tool(
        "watch_start",
        workflows.watching.watch_start,
        "Watch and test",
        read_only=False,
        open_world=True,
        toolset="tests",
    ),
    Tool(
        "watch_stop", workflows.watching.watch_stop, "End the watch", read_only=False, idempotent=True, toolset="tests"
    ),
    Tool("sql_schema", workspace.sql.sql_schema, "Show tables", read_only=True, idempotent=True, toolset="sql"),
    Tool("sql_query", workspace.sql.sql_query, "Query records", read_only=True, idempotent=True, toolset="sql"),
    Tool(
        "notebook_run",
        workspace.notebooks.notebook_run,
        "Run a notebook",
        read_only=False,
        destructive=True,
        open_world=True,
        toolset="notebook",
    ),
    Tool(
        "image_build",
        workspace.images.image_build,
        "Build an image",
        read_only=False,
        open_world=True,
        toolset="docker",
    ),
    Tool(
        "container_run",
        workspace.containers.container_run,
        "Run in a container",
        read_only=False,
        open_world=True,
        toolset="docker",
    ),
    Tool(
        "container_status",
        workspace.engine_status.container_status,
        "Show engine, containers and images",
        read_only=True,
        idempotent=True,
        toolset="docker",
    ),
    Tool(
        "document_parse",
        workspace.documents.document_parse,
        "Read a document as Markdown",
        read_only=True,
        idempotent=True,
        toolset="documents",
    ),
    Tool(
        "document_extract",
        workspace.document_fields.document_extract,
        "Pull values from a document",
        read_only=True,
        idempotent=True,
        toolset="documents",
    ),
    Tool("session_checklist", workflows.sessions.session_checklist, "Check a session", read_only=True, surface="cli"),
    Tool(
        "docs_build", workflows.site.docs_build, "Build the web page", read_only=False, idempotent=True, surface="cli"
    ),
    Tool("docs_serve", workflows.site.docs_serve, "Serve the web page", read_only=True, surface="cli"),
    Tool("demo", workflows.demo.run_demo, "Show the project at work", read_only=False, surface="cli"),
    Tool("train_now", workflows.training.train_now, "Train here", read_only=False, surface="hidden"),
)
"""Every tool. Order is the order of the list that an assistant sees."""
