"""What a comparison measures, as parameters that several tools share, and the work itself as a job."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from agent_tools.measure import targets
from agent_tools.measure.sides import parse_side
from agent_tools.measure.targets import NO_DATA, TargetError, TargetRequest, split_words
from agent_tools.results import CommandOnly
from agent_tools.workflows.jobs import JobStarted, start_command
from agent_tools.workflows.measuring import synthetic_receipts
from agent_tools.workflows.overrides import Overrides, check_overrides
from agent_tools.workflows.shared_parameters import FILLED_IN, asks, parameters, set_signature
from agent_tools.workspace.root import Root

AskedTarget = Callable[[], TargetRequest]
"""Makes the target when it is needed: it may have to render data first."""

OWN_PROGRAMS = ("agent_tools", "ocr", "runners")
"""Programs that take commands or configurations themselves: through them a client would get around its own limits."""

TargetName = Annotated[targets.TargetName, Field(description="what is run for each sample")]
Command = Annotated[str, Field(description="prints a JSON line of metrics; {seed} is the round's")]
Data = Annotated[str, Field(description="folder with images/SPLIT, jsons/SPLIT.json; '' = synthetic receipts; none")]
Metric = Annotated[str, Field(description="primary; '' = the target's own")]
Accuracy = Annotated[str, Field(description="metrics that must not fall, with commas; '' = the target's")]
Gate = Annotated[Literal["margin", "outputs"], Field(description="outputs: the change claims equal outputs")]


def make_target(
    root: Root,
    target: TargetName = "evaluate",
    command: Command = "",
    data: Data = "",
    images: Annotated[int, Field(ge=1)] = 48,
    size: Annotated[int, Field(ge=32, le=4096)] = 640,
    passes: Annotated[int, Field(ge=1, le=50), CommandOnly] = 3,
    checkpoint: Annotated[str, Field(description="weights that both sides load")] = "",
    metric: Metric = "",
    better: Annotated[Literal["", "lower", "higher"], Field(description="'' = by the metric's name")] = "",
    accuracy: Accuracy = "",
    gate: Gate = "margin",
    margin: Annotated[
        float, Field(ge=0, le=1, description="loss of accuracy that counts as none"), CommandOnly
    ] = 0.005,
    overrides: Overrides = (),
) -> TargetRequest:
    """Return the target that these parameters ask for, with its paths resolved.

    Raises:
        TargetError: a command for the trainer's own targets, or none for a command.
        RootError: a path that may not be read.
    """
    words = split_words(command)
    if words and target == "train":
        raise TargetError("target is train, but a command is given; leave one of the two out.")
    name: targets.TargetName = "command" if words else target
    if name != "command":
        where = str(root.resolve_data(data) if data else synthetic_receipts(root))
    else:
        where = str(root.resolve_data(data)) if data and data != NO_DATA else data
    return TargetRequest(
        name=name,
        command=words,
        data=where,
        images=images,
        size=size,
        passes=passes,
        checkpoint=str(root.resolve_data(checkpoint)) if checkpoint else "",
        metric=metric,
        better=better,
        accuracy=[entry for entry in accuracy.split(",") if entry],
        gate=gate,
        margin=margin,
        overrides=check_overrides(root, overrides),
    )


asks_target = asks("target", make_target)
"""Gives a tool the parameters of `make_target` in place of its own `target`, which is called to get the target."""


def as_job(
    foreground: Callable[..., Any], noun_verb: tuple[str, str], words: tuple[str, ...]
) -> Callable[..., JobStarted]:
    """Return a tool with the parameters of a foreground tool that starts its command line as a job.

    Args:
        foreground: the tool as the command line has it.
        noun_verb: its command.
        words: the parameters that are words of their own there, in order; a list at the end takes the rest.
    """
    parts = {name: part for name, part in parameters(foreground).items() if name not in FILLED_IN[1:]}

    @functools.wraps(foreground)
    def start(root: Root, **given: Any) -> JobStarted:
        full = {name: given.get(name, part.default) for name, part in parts.items() if name != "root"}
        if isinstance(full[words[0]], str) and not full[words[0]] and not full.get("resume"):
            raise TargetError(f"{words[0]} is missing; name it, such as HEAD~1.")
        _check_paths(root, full)
        check_sides(root, [full[name] for name in words if isinstance(full[name], str)], bool(full.get("command")))
        typed = [word for name in words for word in _as_words(full[name])]
        options = {name.replace("_", "-"): value for name, value in full.items() if name not in words}
        changed = {name: value for name, value in options.items() if value != parts[name.replace("-", "_")].default}
        title = " ".join([*noun_verb, *typed, *([full["command"]] if full.get("command") else [])])
        return start_command(root, "bench", title, noun_verb, changed, typed)

    set_signature(start, list(parts.values()), JobStarted)
    return start


def _as_words(value: Any) -> list[str]:
    return list(value) if isinstance(value, tuple) else [value] if value else []


def _check_paths(root: Root, given: dict[str, Any]) -> None:
    """What a client may name: paths in the root and its data folders, and commands that the repository holds."""
    for name in ("data", "checkpoint"):
        if given.get(name) and given[name] != NO_DATA:
            given[name] = str(root.resolve_data(given[name]))
    if given.get("overrides"):
        check_overrides(root, given["overrides"])
    if given.get("command"):
        check_command(root, given["command"])


def check_sides(root: Root, sides: Sequence[str], is_command: bool) -> None:
    """Refuse a configuration side that could do more than set values of the trainer's configuration.

    The words of a command are its own: they can do what the command can.

    Raises:
        OverrideError, RootError: see `check_overrides`.
    """
    for side in sides:
        request = parse_side(side)
        if request.kind == "configuration" and not is_command:
            check_overrides(root, request.words)


def check_command(root: Root, command: str) -> None:
    """Refuse a command that is not a Python script or module of the repository itself.

    Raises:
        TargetError: another program, or code in the command itself.
    """
    words = split_words(command)
    if len(words) > 1 and words[0] in ("python", "python3"):
        name = words[2].replace(".", "/") if words[1] == "-m" and len(words) > 2 else words[1]
        is_script = words[1].endswith(".py") and not words[1].startswith("-") and not Path(words[1]).is_absolute()
        is_own = Path(name).parts[:1] and Path(name).parts[0] in OWN_PROGRAMS
        if is_script:
            root.resolve(words[1])
        if (is_script or (words[1] == "-m" and len(words) > 2 and _is_module(root, words[2]))) and not is_own:
            return
    raise TargetError(
        f"command is {command!r}; over this server it must be 'python FILE.py ...' or 'python -m MODULE ...' with a "
        f"relative path or module of the repository, and none of {', '.join(OWN_PROGRAMS)}, which have tools of their "
        "own. Other commands run from the command line."
    )


def _is_module(root: Root, name: str) -> bool:
    path = root.path.joinpath(*name.split("."))
    return name.replace(".", "").replace("_", "").isalnum() and (path.with_suffix(".py").is_file() or path.is_dir())
