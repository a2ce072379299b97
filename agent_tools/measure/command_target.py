"""Any command as a target: it runs in its side's tree and prints one line of JSON."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent_tools.measure.guarded import Ends, RunCancelled, run_guarded
from agent_tools.measure.targets import Answer, Call, Place, TargetError, TargetRequest
from agent_tools.measure.trainer import TrainerCancelled, log_tail, run_environment
from agent_tools.measure.verdict import direction
from agent_tools.records.compared import Target
from agent_tools.records.schema import DatasetFingerprint

SEED = "{seed}"
"""In a command's words: replaced by the seed of the round, the same for every side."""


class CommandRunner:
    """A command run in each side's tree, whose last line of output that is a JSON object holds the metrics.

    Numbers are metrics; `outputs` (text) is a hash of what was computed; `dataset` (text) the content hash of the data
    that was read; `work` (text), where it is given, has to be the same for every sample, such as a number of images.
    Words that a configuration side gives are added at the end.
    """

    def __init__(self, request: TargetRequest) -> None:
        if not request.command:
            raise TargetError("The target 'command' needs a command; give it with --command 'python bench.py'.")
        self.request = request
        self.paired_seeds = any(SEED in word for word in request.command)
        self.target = Target(
            name=_command_name(request.command),
            command=request.command,
            primary=request.metric or "seconds",
            better=request.better or direction(request.metric or "seconds"),
            accuracy=request.accuracy,
            gate=request.gate,
            margin=request.margin,
        )

    def resolved(self, place: Place) -> dict[str, Any]:  # noqa: ARG002 - the trainer's runner needs it
        """A command has no configuration that could be read without running it."""
        return {}

    def run(self, call: Call) -> Answer:
        """Run one process and read its line.

        Raises:
            TargetError: it failed, or printed no usable line.
            TrainerCancelled: the call's event was set.
        """
        log, output = call.folder / "logs" / f"{call.name}.log", call.folder / "logs" / f"{call.name}.out"
        words = [word.replace(SEED, str(call.seed)) for word in [*self.request.command, *call.place.side.overrides]]
        try:
            code = run_guarded(
                _with_interpreter(words, call.place.python),
                folder=call.place.tree,
                environment=command_environment(call.place.tree),
                log=log,
                output=output,
                ends=Ends(call.cancel, self.request.limit_seconds),
            )
        except RunCancelled as error:
            raise TrainerCancelled(str(error)) from error
        if code != 0:
            raise TargetError(f"the command ended with status {code}.\n{log_tail(log)}")
        return self._answer(output)

    def _answer(self, output: Path) -> Answer:
        line = last_json_object(output.read_text(encoding="utf-8", errors="replace"))
        if line is None:
            raise TargetError(
                "the command printed no JSON object on a line of its own; print one such "
                'as {"seconds": 1.5, "outputs": "hash"} as the last line.'
            )
        metrics = {
            name: float(value)
            for name, value in line.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }
        missing = [name for name in (self.target.primary, *self.target.accuracy) if name not in metrics]
        if missing:
            known = ", ".join(metrics) or "no numbers"
            raise TargetError(f"the command's line has no number '{missing[0]}'; it has {known}.")
        return Answer(
            metrics=metrics,
            outputs=str(line.get("outputs") or ""),
            dataset=self._dataset(line.get("dataset")),
            work={"work": str(line["work"])} if line.get("work") else {},
        )

    def _dataset(self, named: Any) -> DatasetFingerprint | None:
        if not named:
            return None
        return DatasetFingerprint(name="named by the command", root="", images=0, content_hash=str(named))


def last_json_object(text: str) -> dict[str, Any] | None:
    """Return the last line of a text that is a JSON object; None where there is none."""
    for line in reversed(text.splitlines()):
        if line.lstrip().startswith("{"):
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                return value
    return None


def command_environment(tree: Path) -> dict[str, str]:
    """Return the environment of a command: this process's, with the side's own packages first on the path."""
    source = [str(tree / "src")] if (tree / "src").is_dir() else []
    return run_environment(tree) | {"PYTHONPATH": ":".join([*source, str(tree)])}


def _with_interpreter(words: Sequence[str], python: str) -> list[str]:
    """The words, with the side's interpreter where they begin with any Python."""
    return [python, *words[1:]] if is_python(words[0]) else list(words)


def is_python(word: str) -> bool:
    """Say whether a command's first word is any Python: it is then replaced by the side's own interpreter."""
    return re.fullmatch(r"python[\d.]*", Path(word).name) is not None or word == sys.executable


def _command_name(words: Sequence[str]) -> str:
    """What the command is called in titles: its script or module, else its first word."""
    plain = [word for word in words if not word.startswith("-")]
    return Path(plain[1] if len(plain) > 1 and Path(plain[0]).name.startswith("python") else plain[0]).name
