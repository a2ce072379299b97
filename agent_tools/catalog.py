"""The one table of tools: what the server offers, the command line has under the same name.

To add a tool: write the function (typed parameters with descriptions, a flat `ToolResult`, `WorkbenchError` for what
can go wrong) and add its row here. Whoever calls fills in parameters called `root`, `report`, `progress`, `cancel`,
`resume_with` or `facts` (this table as plain data). A tool with a `foreground` starts a job on the server and does the
work itself on the command line.
"""

from __future__ import annotations

import difflib
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import anyio.to_thread

import agent_tools.workflows
import agent_tools.workspace
from agent_tools.later import Later
from agent_tools.records.errors import WorkbenchError
from agent_tools.results import ToolResult
from agent_tools.tool import Tool
from agent_tools.workspace.root import Root

workflows = Later(agent_tools.workflows)
workspace = Later(agent_tools.workspace)

Report = Callable[[float, float | None, str], Awaitable[None]]
Progress = Callable[[int, int, str], None]


class UnknownTool(WorkbenchError):
    """No tool has this name; the sentence names the nearest."""


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
    return [tool.facts() for tool in CATALOG]


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


def _reads(name: str, work: Later, title: str, toolset: str = "default") -> Tool:
    """A row for the server that changes nothing, and that may be asked again."""
    return Tool(name, work, title, read_only=True, idempotent=True, toolset=toolset)


def _writes(name: str, work: Later, title: str, toolset: str = "default", **hints: Any) -> Tool:
    """A row for the server that changes something."""
    return Tool(name, work, title, read_only=False, toolset=toolset, **hints)


def _command(name: str, work: Later, title: str, read_only: bool = False, **hints: Any) -> Tool:
    """A row for the command line alone."""
    return Tool(name, work, title, read_only, surface="cli", **hints)


CATALOG: tuple[Tool, ...] = (
    _writes("train_run", workflows.training.train_run, "Start a training"),
    _reads("config_show", workflows.training.config_show, "Show the resolved configuration"),
    _reads("features_check", workflows.training.features_check, "Check requested features"),
    _writes("bench_run", workflows.comparing.bench_run, "Start a benchmark"),
    _writes(
        "bench_compare",
        workflows.comparing.bench_compare,
        "Compare two sides",
        open_world=True,
        foreground=workflows.comparing.compare_now,
    ),
    _reads("record_list", workflows.records.record_list, "List measured records"),
    _reads("record_show", workflows.records.record_show, "Show one record"),
    _writes("profile_run", workflows.measuring.profile_run, "Profile the stages of a run"),
    _reads("job_status", workflows.jobs.job_status, "Show jobs"),
    _writes("job_cancel", workflows.jobs.job_cancel, "Cancel a job", destructive=True, idempotent=True),
    _reads("git_status", workspace.git.reading.git_status, "Show uncommitted files"),
    _reads("git_diff", workspace.git.reading.git_diff, "Show changes"),
    _reads("git_log", workspace.git.reading.git_log, "List commits"),
    _writes("git_branch", workspace.git.branches.git_branch, "List or switch branches"),
    _writes("git_commit", workflows.committing.git_commit, "Commit paths"),
    _writes("test_run", workspace.testing.running.run_tests, "Run tests", open_world=True, idempotent=True),
    _writes("docs_render", workflows.documents.docs_render, "Render documents from records", idempotent=True),
    _reads("docs_check", workflows.documents.docs_check, "Check documents against records"),
    _writes("session_start", workflows.sessions.session_start, "Start a session", open_world=True),
    _writes("session_note", workflows.sessions.session_note, "Write a note"),
    _writes("session_handover", workflows.sessions.session_handover, "Hand a session over"),
    _reads("file_read", workspace.files.reading.file_read, "Read a file"),
    _reads("file_find", workspace.files.finding.file_find, "Find files"),
    _reads("dir_read", workspace.files.folders.dir_read, "Show a folder", toolset="files"),
    _reads("context_pack", workspace.files.pack.context_pack, "Pack files", toolset="files"),
    _reads("code_search", workspace.search.searching.code_search, "Search code"),
    _reads("code_usages", workspace.search.usages.code_usages, "List uses", toolset="search"),
    _writes(
        "index_refresh", workspace.search.searching.index_refresh, "Refresh index", toolset="search", idempotent=True
    ),
    _command("bench_ladder", workflows.measuring.bench_ladder, "Measure a ladder here"),
    _command("bench_bisect", workflows.comparing.bench_bisect, "Find the commit that made it slower"),
    _command("bench_history", workflows.comparing.bench_history, "Measure a line of commits"),
    _command("bench_check", workflows.comparing.bench_check, "Check against the accepted record"),
    _command("bench_judge", workflows.comparing.bench_judge, "Judge the judge"),
    _command("bench_tune", workflows.tuning.bench_tune, "Tune the settings here"),
    _command("bench_gates", workflows.gates.bench_gates, "Measure and show the gates"),
    _command("bench_fact", workflows.profiling.bench_fact, "Record figures of a command"),
    _command("profile_stages", workflows.measuring.profile_stages, "Profile here"),
    _command("profile_limit", workflows.profiling.profile_limit, "Measure the limit here"),
    _command("profile_whatif", workflows.profiling.profile_whatif, "Measure what-if here"),
    _command("profile_transforms", workflows.profiling.profile_transforms, "Time transforms"),
    _command("job_resume", workflows.jobs.job_resume, "Go on with a job"),
    _command("record_export", workflows.records_export.record_export, "Export raw samples as CSV"),
    _command("record_import", workflows.records_entry.record_import, "Import another tool's report"),
    _command("record_report", workflows.records_entry.record_report, "Enter a reported figure"),
    _command("record_override", workflows.records_entry.record_override, "Override a recommendation"),
    _command("plan_new", workflows.plans.plan_new, "Write a plan into the ledger"),
    _command("changelog_add", workflows.changelog.changelog_add, "Write a changelog entry"),
    _command("changelog_release", workflows.changelog.changelog_release, "Release the changelog"),
    _command("hooks_install", workspace.git.hooks.hooks_install, "Install git hooks", idempotent=True),
    _writes("git_restore", workspace.git.restoring.git_restore, "Discard changes", destructive=True, toolset="git"),
    _writes("test_skeleton", workspace.testing.skeletons.make_skeleton, "Write a test skeleton", toolset="tests"),
    _writes("watch_start", workflows.watching.watch_start, "Watch and test", open_world=True, toolset="tests"),
    _writes("watch_stop", workflows.watching.watch_stop, "End the watch", toolset="tests", idempotent=True),
    _reads("sql_schema", workspace.sql.queries.sql_schema, "Show tables", toolset="sql"),
    _reads("sql_query", workspace.sql.queries.sql_query, "Query records", toolset="sql"),
    _writes(
        "notebook_run",
        workspace.notebooks.running.notebook_run,
        "Run a notebook",
        destructive=True,
        open_world=True,
        toolset="notebook",
    ),
    _writes(
        "image_build", workspace.containers.images.image_build, "Build an image", open_world=True, toolset="docker"
    ),
    _writes(
        "container_run",
        workspace.containers.running.container_run,
        "Run in a container",
        open_world=True,
        toolset="docker",
    ),
    _reads(
        "container_status",
        workspace.containers.status.container_status,
        "Show engine, containers and images",
        toolset="docker",
    ),
    _reads(
        "document_parse", workspace.documents.parsing.document_parse, "Read a document as Markdown", toolset="documents"
    ),
    _reads(
        "document_extract",
        workspace.documents.fields.document_extract,
        "Pull values from a document",
        toolset="documents",
    ),
    _command("session_checklist", workflows.sessions.session_checklist, "Check a session", read_only=True),
    _command("docs_build", workflows.site.docs_build, "Build the web page", idempotent=True),
    _command("docs_serve", workflows.site.docs_serve, "Serve the web page", read_only=True),
    _command("demo", workflows.demo.run_demo, "Show the project at work"),
    Tool("train_now", workflows.training.train_now, "Train here", read_only=False, surface="hidden"),
)
"""Every tool. Order is the order of the list that an assistant sees."""
