"""A parameter of a tool as its caller sees it: type, meaning, and how the command line takes it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from agent_tools.results import Positional

MEANINGS: Mapping[str, str] = {
    "affected": "only tests that rest on something changed since they ran",
    "alpha": "two-sided error rate",
    "cell_seconds": "time limit of each cell",
    "contains": "a text that the file must hold",
    "cpus": "processor cores",
    "cursor": "next_cursor of the page before",
    "expects": "a text that the command must print",
    "figure": "path of a number in the record, such as fact/figures/seconds",
    "file": "a file that shows it",
    "files": "files that it is about",
    "findings": "a page of findings; by default those of the records",
    "goal": "what the session is for",
    "image": "name of an image on this machine",
    "images": "how many images are used",
    "keyword": "pytest's expression for -k",
    "kind": "which sort it is",
    "lacks": "a text that the file must not hold",
    "last_failed": "only tests that failed last time",
    "limit": "entries shown at most",
    "max_seconds": "time limit",
    "memory_mib": "memory limit, MiB",
    "name": "what it is called",
    "note": "words to keep with it",
    "passes": "epochs per process; the first one is cold",
    "path": "a file or folder, relative to the repository",
    "paths": "files or folders",
    "pids": "processes at most",
    "query": "what is looked for, in words or by name",
    "reason": "why",
    "response_format": "how much to return",
    "record": "id of a record that shows it",
    "records": "an id of a record that it rests on",
    "repeat": "how often the tests run, in random order from the second run on",
    "rounds": "how often each side is measured",
    "size": "side of the input, pixels",
    "summary": "one line",
    "text": "what is to be said",
    "unit": "of the value",
    "user": "id of the user in the container",
    "value": "the figure",
    "why": "the reason",
}
"""What people read of parameters that say nothing else; an assistant is spared the words, of which it has few."""

_LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


@dataclass(frozen=True)
class ToolParameter:
    """One parameter.

    Attributes:
        name: in the function and over MCP.
        annotation: its type, without notes.
        meaning: its description, or what `MEANINGS` says of its name.
        limits: of a number, such as `>= 1`.
        default: None where it is required.
        required: whether it has no default.
        is_word: the command line takes it as a word of its own, or, if it is a list, the remaining words.
    """

    name: str
    annotation: Any
    meaning: str
    limits: tuple[str, ...]
    default: Any
    required: bool
    is_word: bool

    @property
    def is_list(self) -> bool:
        """Whether it takes any number of values."""
        return get_origin(self.annotation) is tuple

    @property
    def word(self) -> str:
        """How it is written on the command line: `RECORD`, `[WORDS]...`, `--limit`, `--docs / --no-docs`."""
        if not self.is_word:
            flag = self.name.replace("_", "-")
            return f"--{flag} / --no-{flag}" if self.annotation is bool else f"--{flag}"
        name = self.name.upper()
        return name if self.required else f"[{name}]{'...' if self.is_list else ''}"

    @property
    def type_name(self) -> str:
        """Its type and limits in words that do not depend on the version of Python."""
        return ", ".join([_type_name(self.annotation), *self.limits])

    @property
    def default_text(self) -> str:
        """Its default as JSON; '' where it is required."""
        return "" if self.required else json.dumps(self.default)

    def row(self) -> dict[str, str]:
        """The parameter as texts."""
        return {
            "name": self.name,
            "word": self.word,
            "type": self.type_name,
            "default": self.default_text,
            "meaning": self.meaning,
        }


def described(parameters: Iterable[inspect.Parameter]) -> list[ToolParameter]:
    """The parameters of a tool.

    The first is a word where it is a string and not keyword-only, and so are those marked `Positional` and the first
    list, which takes the remaining words; another list is an option that can be given again and again.
    """
    given = list(parameters)
    first_list = next((one.name for one in given if get_origin(_bare(one.annotation)) is tuple), "")
    return [_described(one, place == 0, one.name == first_list) for place, one in enumerate(given)]


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _described(parameter: inspect.Parameter, first: bool, takes_the_rest: bool) -> ToolParameter:
    annotation, notes = parameter.annotation, list[Any]()
    if get_origin(annotation) is Annotated:
        annotation, *notes = get_args(annotation)
    infos = [note for note in notes if isinstance(note, FieldInfo)]
    is_first_word = first and annotation is str and parameter.kind is not parameter.KEYWORD_ONLY
    required = parameter.default is parameter.empty
    return ToolParameter(
        name=parameter.name,
        annotation=annotation,
        meaning=next((info.description for info in infos if info.description), MEANINGS.get(parameter.name, "")),
        limits=tuple(limit for info in infos for limit in _limits(info)),
        default=None if required else parameter.default,
        required=required,
        is_word=takes_the_rest or Positional in notes or is_first_word,
    )


def _limits(info: FieldInfo) -> list[str]:
    found = ((sign, getattr(note, name, None)) for note in info.metadata for name, sign in _LIMITS.items())
    return [f"{sign} {value}" for sign, value in found if value is not None]


def _type_name(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(json.dumps(part) for part in parts)
    if origin is tuple:
        return f"list of {_type_name(parts[0])}"
    if parts:
        return " | ".join(_type_name(part) for part in parts)
    return "null" if annotation is type(None) else annotation.__name__
