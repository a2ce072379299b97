"""The catalogue as commands: `agent-tools noun verb`, with `--json` printing one JSON object as the last line.

The first parameter of a tool is positional where it is a string (and not keyword-only), and so are those marked
`Positional`; a list takes the remaining words, all others are options. Whoever types here may read data anywhere; a
client of the server only in the root and the folders of `serve --data`.
"""

from __future__ import annotations

import gc
import inspect
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import anyio
import typer

from agent_tools.catalog import CATALOG, call
from agent_tools.records.errors import WorkbenchError
from agent_tools.results import ToolResult
from agent_tools.tool import Tool
from agent_tools.tool_parameters import ToolParameter, described
from agent_tools.workspace.root import Root

if TYPE_CHECKING:
    from agent_tools.jobs.local import Reporter

T = TypeVar("T")

EVERYWHERE = (Path("/"),)

RootOption = Annotated[
    Path | None, typer.Option("--root", help="the repository; by default the one around this folder")
]


def build_app(noun: str = "") -> typer.Typer:
    """Make the command line from the catalogue, or only its commands under one noun: those of others take a second."""
    app = typer.Typer(help="Train, measure, record and document a text detector.", **_PLAIN)
    app.callback()(_choose_root)
    groups: dict[str, typer.Typer] = {}
    for tool in (row.command for row in CATALOG if noun in ("", row.noun)):
        group = _group(app, groups, tool.noun) if tool.verb else app
        command = group.command(tool.verb or tool.noun, help=tool.description, hidden=tool.surface == "hidden")
        command(_command(tool))
    app.command("serve")(_serve)
    return app


def _group(app: typer.Typer, groups: dict[str, typer.Typer], noun: str) -> typer.Typer:
    if noun not in groups:
        groups[noun] = typer.Typer(help=f"{noun.capitalize()} commands.", **_PLAIN)
        app.add_typer(groups[noun], name=noun)
    return groups[noun]


def main() -> None:
    """Run the command line."""
    build_app(_noun(sys.argv[1:]))()


def _noun(words: Sequence[str]) -> str:
    """The noun that these words begin with; '' where they ask for help or are mistyped, which calls for all."""
    rest = iter(words)
    for word in rest:
        if word == "--root":
            next(rest, None)
        elif not word.startswith("-"):
            return word if word in {"serve", *(tool.noun for tool in CATALOG)} else ""
    return ""


_PLAIN: dict[str, Any] = {"no_args_is_help": True, "pretty_exceptions_enable": False, "add_completion": False}


def _choose_root(context: typer.Context, root: RootOption = None) -> None:
    context.obj = root


def _root(context: typer.Context, data: tuple[Path, ...]) -> Root:
    given = context.obj
    return Root.at(given, data) if given is not None else Root.around(Path.cwd(), data)


def _serve(
    context: typer.Context,
    toolsets: Annotated[str, typer.Option(help="opt-in toolsets to serve too, with commas, or 'all'")] = "",
    read_only: Annotated[bool, typer.Option("--read-only", help="serve no tool that writes")] = False,
    data: Annotated[
        list[Path] | None, typer.Option(help="a folder outside of the root that may be read as data")
    ] = None,
    http: Annotated[bool, typer.Option("--http", help="serve over HTTP instead of stdin and stdout")] = False,
    host: Annotated[str, typer.Option(help="with --http: where to listen")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="with --http: 0 takes a free one")] = 8765,
    token_file: Annotated[
        Path | None, typer.Option(help="with --http: holds the token that clients must send (or AGENT_TOOLS_TOKEN)")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="with --http: a name that clients may call this machine by")
    ] = None,
) -> None:
    """Serve tools, resources and prompts to assistants (MCP): over stdin and stdout, or over HTTP."""
    # The SDK takes most of a second to import, and no other command needs it. An import makes many objects and hardly
    # any garbage: not looking for it saves a tenth of the start, now and with every later look.
    gc.disable()
    from agent_tools import server  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    # Before the SDK puts up a handler of its own, which wraps long lines.
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    root = _or_exit(lambda: _root(context, tuple(data or ())))
    names = [name.strip() for name in toolsets.split(",") if name.strip()]
    if not http:
        _refuse_http_options(host, token_file, allow_host)
        _or_exit(lambda: server.serve(root, names, read_only))
        return
    from agent_tools.server.http import door, serve_http  # noqa: PLC0415

    def over_http() -> None:
        opened = door(host, port, token_file, allow_host or (), os.environ)
        serve_http(server.WorkbenchServer(root, names, read_only), opened)

    _or_exit(over_http)


def _refuse_http_options(host: str, token_file: Path | None, allow_host: list[str] | None) -> None:
    """Whoever asks for a door and does not get one should not believe that there is one."""
    if host != "127.0.0.1" or token_file is not None or allow_host:
        sys.stderr.write("error: --host, --token-file and --allow-host are for --http; add it.\n")
        raise typer.Exit(1)


def _command(tool: Tool) -> Callable[..., None]:
    def run(context: typer.Context, as_json: bool, **arguments: Any) -> None:
        # `serve` needs neither jobs nor records to answer, and would wait for both.
        from agent_tools.jobs.local import Reporter  # noqa: PLC0415

        # First of all: it takes the job's variables out of the environment before anything is started.
        reporter = Reporter()
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}
        with _cancelled_by_signals(tool) as cancel:
            result = _or_exit(
                lambda: anyio.run(
                    partial(
                        call,
                        tool,
                        _root(context, EVERYWHERE),
                        given,
                        report=_print_report,
                        progress=partial(_print_progress, reporter),
                        cancel=cancel,
                        resume_with=reporter.resume_with,
                    )
                ),
                as_json,
            )
        reporter.result(result.model_dump(mode="json"))
        _print(result, as_json)
        if result.is_failure():
            raise typer.Exit(1)

    options = [_option(given) for given in described(tool.parameters.values())]
    own = [
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, annotation=_JSON, default=False),
    ]
    run.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *options)}
    return run


@contextmanager
def _cancelled_by_signals(tool: Tool) -> Iterator[threading.Event | None]:
    """Let SIGINT and SIGTERM end the work of a tool that can be cancelled; a second one ends this process at once."""
    if "cancel" not in tool.signature.parameters or threading.current_thread() is not threading.main_thread():
        yield None
        return
    cancel = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def end(_number: int, _frame: FrameType | None) -> None:
        restore()
        cancel.set()

    for number in before:
        signal.signal(number, end)
    try:
        yield cancel
    finally:
        restore()


_JSON = Annotated[bool, typer.Option("--json", help="print one JSON object as the last line")]


def _option(given: ToolParameter) -> inspect.Parameter:
    kind = typer.Argument if given.is_word else typer.Option
    default = list(given.default) if given.is_list and not given.required else given.default
    return inspect.Parameter(
        given.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if given.required else default,
        annotation=Annotated[
            list[str] if given.is_list else given.annotation, kind(help=given.meaning, show_default=not given.is_list)
        ],
    )


def _or_exit(work: Callable[[], T], as_json: bool = False) -> T:
    try:
        return work()
    except WorkbenchError as error:
        sys.stderr.write(f"error: {error}\n")
        if as_json:
            _print_line(json.dumps({"error": str(error)}))
        raise typer.Exit(1) from None


def _print(result: ToolResult, as_json: bool) -> None:
    if as_json:
        _print_line(json.dumps(result.model_dump(mode="json")))
        return
    _print_line(result.summary())
    for name, value in result.model_dump(mode="json").items():
        for line in _rest(value, result.summary()):
            _print_line(f"{name}: {line}" if "\n" not in line else line)


def _rest(value: Any, said: str) -> list[str]:
    """What the summary does not say already: texts of several lines, and lists of lines."""
    texts = value if isinstance(value, list) else [value]
    lines = [part for text in texts for part in (text.values() if isinstance(text, dict) else [text])]
    is_row = any(isinstance(text, dict) for text in texts) or not isinstance(value, list)
    return [line for line in lines if isinstance(line, str) and line not in said and ("\n" in line or not is_row)]


def _print_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def _print_report(done: float, total: float | None, message: str) -> None:
    _print_progress(None, int(done), int(total or 0), message)


def _print_progress(reporter: Reporter | None, done: int, total: int, message: str) -> None:
    if reporter is not None:
        reporter.progress(done, total, message)
    sys.stderr.write(f"[{done}/{total}] {message}\n" if total else f"[{done}] {message}\n")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main()
