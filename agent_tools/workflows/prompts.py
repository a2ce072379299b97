"""Prompts that a person picks in a client: which tools to call in which order, with the project's facts of this moment.

The texts are `templates/prompts/NAME.md.j2`. What is quoted from the repository stands in its own block, as data.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from agent_tools.handbook.budgets import LONGEST_ENTRY, shortened
from agent_tools.handbook.handover_page import continuation_prompt
from agent_tools.handbook.pages import STATE_PATH
from agent_tools.handbook.plans import PLANS_FOLDER, read_plan
from agent_tools.handbook.session_files import HANDOVER_PAGE
from agent_tools.handbook.sessions import all_sessions, named_session, newest_handover
from agent_tools.records.errors import WorkbenchError
from agent_tools.records.store import RecordStore
from agent_tools.workflows import resources
from agent_tools.workflows.records_text import headline
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

LONGEST_ARGUMENT = 500
"""Characters of an argument that a prompt repeats."""
RECORDS_SHOWN = 5
PLANS_SHOWN = 8
CONTINUATION_LINES = 30
SHORT_ID = 6
"""Last characters of a record's id, which its findings are named after."""

Names = Callable[[Root], Iterator[str]]


class PromptError(WorkbenchError):
    """A prompt that there is not, or arguments that it does not take."""


@dataclass(frozen=True)
class Argument:
    """An argument of a prompt; `names` are the values to choose from, where they are known."""

    name: str
    description: str
    required: bool = False
    names: Names | None = None


@dataclass(frozen=True)
class Prompt:
    """One prompt; `facts` are what its template prints beside the arguments."""

    name: str
    title: str
    description: str
    facts: Callable[[Root, Mapping[str, str]], dict[str, Any]]
    arguments: tuple[Argument, ...] = ()


def render(root: Root, name: str, arguments: Mapping[str, str], served: Collection[str]) -> str:
    """Return the text of a prompt.

    Args:
        root: the repository.
        name: of a row of `PROMPTS`.
        arguments: by name.
        served: names of the tools that the caller can call; for the others the command line is named.

    Raises:
        PromptError: no such prompt, or an argument that is unknown or missing.
        WorkbenchError: an argument names a record or a session that there is not.
    """
    prompt = find(name)
    given = _checked(prompt, arguments)
    text = _templates().get_template(f"{name}.md.j2")
    return text.render(**given, **prompt.facts(root, given), tool=functools.partial(_tool, served)).strip() + "\n"


def find(name: str) -> Prompt:
    """Return the prompt of this name.

    Raises:
        PromptError: there is none; all are named.
    """
    for prompt in PROMPTS:
        if prompt.name == name:
            return prompt
    raise PromptError(f"There is no prompt {name[:80]!r}; there are {', '.join(one.name for one in PROMPTS)}.")


def _checked(prompt: Prompt, arguments: Mapping[str, str]) -> dict[str, str]:
    known = {argument.name: argument for argument in prompt.arguments}
    for name in arguments:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise PromptError(
                f"{prompt.name} has no argument {name[:80]!r}; {hint}It has: {', '.join(known) or 'none'}."
            )
    given = {name: _quoted(arguments.get(name, ""), LONGEST_ARGUMENT) for name in known}
    for name, argument in known.items():
        if argument.required and not given[name]:
            raise PromptError(f"{prompt.name} needs the argument '{name}': {argument.description}.")
    return given


def _quoted(text: str, limit: int = LONGEST_ENTRY) -> str:
    """Text of others on one line, so that it cannot pose as a line of the prompt."""
    return shortened(" ".join(shown(text).split()), limit)


def _tool(served: Collection[str], name: str) -> str:
    if name in served:
        return f"`{name}`"
    noun, _, verb = name.partition("_")
    return f"`agent-tools {noun} {verb}` (in a shell)"


@functools.cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("templates", "prompts"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - plain text for a model, shown by no browser
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _continuing(root: Root, given: Mapping[str, str]) -> dict[str, Any]:
    asked = named_session(root.path, given["session"], datetime.now(UTC).date())
    handed = newest_handover(root.path)
    said: list[str] = []
    if handed is not None and handed.handover is not None:
        said = [_quoted(line) for line in continuation_prompt(handed.handover)][:CONTINUATION_LINES]
    return {
        "open": asked.name if asked is not None and asked.is_open else "",
        "goal": _quoted(asked.session.goal) if asked is not None else "",
        "handover": root.relative(handed.path / HANDOVER_PAGE) if handed else "",
        "said": said,
        "state_page": STATE_PATH,
        "plans": _open_plans(root),
    }


def _planning(root: Root, _given: Mapping[str, str]) -> dict[str, Any]:
    return {"plans": _open_plans(root), "records": _newest(root), "state_page": STATE_PATH, "folder": PLANS_FOLDER}


def _finding(root: Root, given: Mapping[str, str]) -> dict[str, Any]:
    store = RecordStore(root.path)
    if not given["record"]:
        return {"chosen": "", "says": "", "page": "", "records": _newest(root)}
    record = store.load(given["record"])
    pages = sorted(store.find_folder(record.id).glob(f"*-{record.id[-SHORT_ID:]}-findings.md"))
    where = root.relative(pages[0]) if pages else ""
    return {"chosen": record.id, "says": _quoted(headline(record)), "page": where, "records": []}


def _reviewing(root: Root, _given: Mapping[str, str]) -> dict[str, Any]:
    return {"state_page": STATE_PATH, "records": _newest(root)}


def _open_plans(root: Root) -> list[str]:
    """One line per open plan, most urgent first; a damaged one says what is wrong with it."""
    lines: list[tuple[int, str]] = []
    for path in sorted((root.path / PLANS_FOLDER).glob("*.md")):
        try:
            plan = read_plan(path)
        except WorkbenchError as error:
            lines.append((0, str(error)))
            continue
        if not plan.closed:
            gain = f", expected gain: {plan.expected_gain}" if plan.expected_gain else ""
            why = f": {plan.hypothesis}" if plan.hypothesis else ""
            lines.append((plan.priority, f"{path.stem} ({plan.kind}, {plan.status}{gain}){why}"))
    return [_quoted(line) for _, line in sorted(lines)][:PLANS_SHOWN]


def _newest(root: Root) -> list[str]:
    page = RecordStore(root.path).list(limit=RECORDS_SHOWN)
    damaged = [f"{one.path}: {one.problem}" for one in page.corrupt]
    return [_quoted(line) for line in [*(f"{one.id}: {headline(one)}" for one in page.records), *damaged]]


def _session_names(root: Root) -> Iterator[str]:
    return (session.name for session in all_sessions(root.path))


PROMPTS = (
    Prompt(
        "continue_session",
        "Continue a session",
        "Go on where the last session stopped: its claims checked again, its plan taken up.",
        _continuing,
        (Argument("session", "name of a session; empty for the open one", names=_session_names),),
    ),
    Prompt(
        "plan_optimisation",
        "Plan an optimisation",
        "From a goal to a plan in the ledger: profile, choose what is worth it, say how it will be judged.",
        _planning,
        (Argument("goal", "what should become faster or better, and by how much", required=True),),
    ),
    Prompt(
        "write_findings",
        "Write findings",
        "Turn a record into findings: render the page, then write what the figures mean into its notes.",
        _finding,
        (Argument("record", "id of the record; empty to choose", names=resources.RECORDS.names),),
    ),
    Prompt(
        "review_commit",
        "Review before a commit",
        "Look at what is about to be committed: changes, tests, documents, claims of speed, the message.",
        _reviewing,
    ),
)
"""Every prompt."""


def names_for(root: Root, name: str, argument: str) -> Iterator[str]:
    """Values of an argument, where they are known."""
    choices = next((one.names for one in find(name).arguments if one.name == argument), None)
    return choices(root) if choices else iter(())
