"""The text of a test file for one target: every test fails, with what is to be filled in, until it is."""

from __future__ import annotations

import ast
import builtins
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec

from agent_tools.workspace.testing.python_targets import Parameter, SourceModule, Target
from agent_tools.workspace.testing.skeleton_values import Imports, Values
from agent_tools.workspace.untrusted import shown

LINE = 110
SENTENCES = 6
SLUG_LENGTH = 60
WRAP = 90
HANGING = re.compile(r"_(?:a|an|and|as|at|by|for|from|in|is|it|its|of|on|or|so|that|the|their|to|which|with)$")
VERBS = re.compile(
    r"(?:Add|Apply|Ask|Build|Call|Check|Choose|Close|Collect|Compare|Compute|Convert|Copy|Count|Cut|Decode|Draw|Drop|End|"
    r"Enter|Fetch|Fill|Find|Fit|Found|Gather|Get|Give|Go|Keep|Leave|Let|Limit|List|Load|Look|Make|Map|Mark|Match|Measure|"
    r"Merge|Move|Name|Open|Order|Parse|Place|Plan|Print|Put|Read|Record|Refuse|Remove|Render|Replace|Report|Return|Run|Save|"
    r"Say|Score|See|Select|Set|Show|Shrink|Sell|Sort|Split|Start|State|Stop|Store|Take|Tell|Test|Train|Try|Turn|Use|Wait|"
    r"Write|Yield)"
)
TAKEN = frozenset(
    (
        *("result", "st", "given", "pytest", "asyncio", "np", "Path", "UTC", "date", "datetime", "use", "request"),
        *("tmp_path", "monkeypatch", "capsys", "caplog", "cache", "pytestconfig", "recwarn", "testdir"),
    )
)
"""Names that the text itself or pytest uses."""


@dataclass
class Skeleton:
    """Collects imports, fixtures and tests of the targets of one module."""

    module: SourceModule
    imports: Imports = field(default_factory=Imports)
    fixtures: dict[str, list[str]] = field(default_factory=dict)
    tests: dict[str, list[str]] = field(default_factory=dict)
    _fixture_names: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values = Values(self.module, self.imports)

    def add(self, target: Target) -> None:
        """Add a test for each sentence and each error of the target's docstring, and one for any arguments."""
        words = _words(target)
        sentences = target.sentences[:SENTENCES] or (f"{target.name} has no docstring: state what it must do",)
        for place, sentence in enumerate(sentences):
            says = _third_person(sentence) if not place and target.kind != "class" else sentence
            reason = f"state what must hold: {sentence}" if target.sentences else sentence
            self._add_test(f"{words}_{_slug(says)}", reason, target, checks=place == 0)
        for error, when in target.raises:
            self._add_refusal(f"{words}_raises_{_snake(error)}_when_{_slug(when)}", error, when, target)
        self._add_property(f"{words}_holds_for_any_arguments", target)

    def text(self, title: str) -> str:
        """Return the whole file."""
        used = "\n".join(line for block in (*self.fixtures.values(), *self.tests.values()) for line in block)
        blocks = ["\n".join(block) for block in (*self.fixtures.values(), *self.tests.values())]
        head = f'"""{title}: a skeleton, whose tests fail until each says what must hold."""'
        parts = [head, "", "from __future__ import annotations", "", *_import_lines(self.imports, self.module, used)]
        return "\n".join([*parts, "", "", "\n\n\n".join(blocks), ""])

    def _add_test(self, name: str, reason: str, target: Target, checks: bool) -> None:
        needs: set[str] = set()
        body = self._use(target, needs, checks)
        self._define(name, needs, [*_fail(reason), *body])

    def _add_refusal(self, name: str, error: str, when: str, target: Target) -> None:
        needs: set[str] = set()
        known = self._error(error)
        body = self._raising(target, self._called(target, needs), known or "Exception")
        reason = f"make it so that {error} is raised: {when}" + ("" if known else "; import it, it is not known here")
        self._define(name, needs, [*_fail(reason), *_indented(body, 4)])

    def _raising(self, target: Target, call: str, error: str) -> list[str]:
        if target.is_async:
            return [*self._in_async(target, call), f"with pytest.raises({error}):", "    asyncio.run(use())"]
        if target.is_manager:
            return [f"with pytest.raises({error}), {call}:", "    pass"]
        used = f"list({call})" if target.is_generator else call
        return [f"with pytest.raises({error}):", *_indented([used], 4)]

    def _add_property(self, name: str, target: Target) -> None:
        required = [parameter for parameter in target.parameters if parameter.required]
        # What yields may yield for ever, given a large number.
        is_lasting = target.is_manager or target.is_generator or target.is_async
        is_plain = target.kind in ("function", "staticmethod", "classmethod") and not is_lasting
        given = {one.name: self.values.strategy(one.annotation) for one in required}
        if not required or not is_plain or None in given.values() or not find_spec("hypothesis"):
            return
        renamed = {one.name: f"{one.name}_value" if one.name in TAKEN else one.name for one in required}
        arguments = ", ".join(
            renamed[one.name] if one.positional_only else f"{one.name}={renamed[one.name]}" for one in required
        )
        call = f"{self._callee(target, set())}({arguments})"
        strategies = ", ".join(f"{renamed[name]}={strategy}" for name, strategy in given.items())
        self._define(
            name,
            set(renamed.values()),
            [
                *_fail("state what holds for any arguments"),
                *_indented(self._checked(call, target, checks=True), 4),
            ],
            f"@given({strategies})",
        )

    def _use(self, target: Target, needs: set[str], checks: bool) -> list[str]:
        call = self._called(target, needs)
        if target.is_async:
            return _indented([*self._in_async(target, call), "asyncio.run(use())"], 4)
        if target.is_manager:
            return _indented([f"with {call} as result:", "    assert result == ...  # TODO"], 4)
        if target.is_generator:
            return _indented([f"result = list({call})", "assert result == [...]  # TODO"], 4)
        return _indented(self._checked(call, target, checks), 4)

    def _checked(self, call: str, target: Target, checks: bool) -> list[str]:
        found = self.values.checks(target.returns) if checks else []
        is_none = isinstance(target.returns, ast.Constant) and target.returns.value is None
        if is_none:
            return [call, 'pytest.fail("TODO: check what it changed")']
        return [f"result = {call}", *found, "assert result == ...  # TODO"]

    def _in_async(self, target: Target, call: str) -> list[str]:
        return ["", "async def use() -> None:", *_indented([*self._async_use(target, call)], 4), ""]

    def _async_use(self, target: Target, call: str) -> Iterator[str]:
        if target.is_manager:
            yield from (f"async with {call} as result:", "    assert result == ...  # TODO")
        elif target.is_generator:
            yield from (f"async for result in {call}:", "    assert result == ...  # TODO")
        else:
            yield from (f"result = await {call}", "assert result == ...  # TODO")

    def _called(self, target: Target, needs: set[str]) -> str:
        callee = self._callee(target, needs)
        return callee if target.kind == "property" else self._call(callee, target, needs)

    def _call(self, callee: str, target: Target, needs: set[str]) -> str:
        given = [self._argument(one, needs) for one in target.parameters if one.required]
        line = f"{callee}({', '.join(given)})"
        return line if len(line) < LINE else "\n    ".join([f"{callee}(", *(f"{one}," for one in given)]) + "\n)"

    def _callee(self, target: Target, needs: set[str]) -> str:
        name = self._imported(target.owner or target.name)
        if not target.owner:
            return name
        if target.kind in ("classmethod", "staticmethod"):
            return f"{name}.{target.name}"
        fixture = self._instance(target.owner, name)
        needs.add(fixture)
        return f"{fixture}.{target.name}"

    def _imported(self, name: str) -> str:
        """A name that pytest would collect, or that the text uses itself, gets another one."""
        known = name
        if name in TAKEN or name.startswith("test"):
            known = "subject"
        elif name.startswith("Test"):
            known = "Subject"
        self.imports.add(self.module.name, name if known == name else f"{name} as {known}")
        return known

    def _argument(self, parameter: Parameter, needs: set[str]) -> str:
        value = self.values.example(parameter.annotation)
        if value is None:
            value = self._made(parameter)
            needs.add(value)
        if "tmp_path" in value:
            needs.add("tmp_path")
        return value if parameter.positional_only else f"{parameter.name}={value}"

    def _made(self, parameter: Parameter) -> str:
        """The fixture that will make an argument for which there is no obvious value."""
        kind = ast.unparse(parameter.annotation) if parameter.annotation is not None else "an object"
        return self._fixture(parameter.name, kind, set(), _fail(f"make '{parameter.name}': {kind}"))

    def _instance(self, owner: str, name: str) -> str:
        node = self.module.definitions[owner]
        needs: set[str] = set()
        made = self._call(name, self.module.constructor(node), needs) if isinstance(node, ast.ClassDef) else name
        lines = [*_fail(f"make a {owner} worth testing"), *_indented([f"return {made}"], 4)]
        return self._fixture(_snake(owner), owner, needs, lines)

    def _fixture(self, wanted: str, kind: str, needs: set[str], body: list[str]) -> str:
        if (wanted, kind) not in self._fixture_names:
            name = wanted
            while name in TAKEN or name in self.fixtures or name == self._fixture_clash(name):
                name = f"{name}_value"
            self._fixture_names[wanted, kind] = name
            self.fixtures[name] = ["@pytest.fixture", f"def {name}({_signature(needs)}):", *body]
        return self._fixture_names[wanted, kind]

    def _fixture_clash(self, name: str) -> str:
        return name if name in self.module.definitions or name.startswith("test") else ""

    def _define(self, name: str, needs: set[str], body: list[str], decorator: str = "") -> None:
        unique, number = name, 2
        while unique in self.tests:
            unique, number = f"{name}_{number}", number + 1
        head = [decorator] if decorator else []
        self.tests[unique] = [*head, f"def {unique}({_signature(needs)}):", *body]

    def _error(self, name: str) -> str:
        last = name.rpartition(".")[2]
        if isinstance(getattr(builtins, last, None), type):
            return last
        return last if self.values.importable(last) else ""


def _signature(needs: set[str]) -> str:
    return ", ".join(f"{name}: Path" if name == "tmp_path" else name for name in sorted(needs))


def _fail(reason: str) -> list[str]:
    """The line that makes a test fail until it is written."""
    parts = [_quoted(part) for part in textwrap.wrap(f"TODO: {reason}", WRAP, drop_whitespace=False)]
    if len(parts) == 1:
        return [f"    pytest.fail({parts[0]})"]
    return ["    pytest.fail(", *(f"        {part}" for part in parts), "    )"]


def _indented(lines: list[str], by: int) -> list[str]:
    return [" " * by + line if line else "" for text in lines for line in text.split("\n")]


def _quoted(text: str) -> str:
    return json.dumps(shown(text), ensure_ascii=False)


def _words(target: Target) -> str:
    return "test_" + "_".join(filter(None, [_snake(target.owner), _snake(target.name)]))


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9_]", "_", name).strip("_").lower()


def _slug(text: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "it_holds"
    if len(slug) <= SLUG_LENGTH:
        return slug
    slug = slug[:SLUG_LENGTH].rpartition("_")[0] or slug[:SLUG_LENGTH]
    while HANGING.search(slug):
        slug = HANGING.sub("", slug)
    return slug


def _third_person(sentence: str) -> str:
    """`Return the page` as `returns the page`: a test's name says what its subject does."""
    verb, _, rest = sentence.partition(" ")
    if not VERBS.fullmatch(verb):
        return sentence
    ending = "ies" if re.search(r"[^aeiou]y$", verb) else "es" if re.search(r"(?:sh|ch|x|o|z)$", verb) else "s"
    return f"{verb[:-1] if ending == 'ies' else verb}{ending} {rest}"


def _import_lines(imports: Imports, module: SourceModule, used: str) -> list[str]:
    """The imports that the text uses, in the usual three groups."""
    lines = {"import pytest", *imports.plain}
    lines |= {"import asyncio"} if "asyncio." in used else set()
    lines |= {"from hypothesis import given", "from hypothesis import strategies as st"} if "@given(" in used else set()
    for source, names in imports.names.items():
        kept = sorted(name for name in names if re.search(rf"\b{name.rpartition(' ')[2]}\b", used))
        lines |= {f"from {source} import {', '.join(kept)}"} if kept else set()
    if "tmp_path: Path" in used:
        lines = {line for line in lines if not line.startswith("from pathlib")} | {"from pathlib import Path"}
    groups: dict[int, list[str]] = {}
    for line in sorted(lines, key=lambda line: (line.startswith("from"), line)):
        top = line.split()[1].partition(".")[0]
        own = top == module.name.partition(".")[0]
        groups.setdefault(0 if top in sys.stdlib_module_names else 2 if own else 1, []).append(line)
    return "\n\n".join("\n".join(groups[key]) for key in sorted(groups)).split("\n")
