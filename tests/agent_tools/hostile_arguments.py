"""Arguments for tools made from their announced schemas: plausible, broken and hostile ones, the same for a seed."""

from __future__ import annotations

import random
from typing import Any

PLAUSIBLE = (
    *("", "a.txt", "folder", "folder/b.py", "folder/test_b.py", "notes.ipynb", "table.sqlite", "README.md", "main"),
    *("HEAD", "HEAD~1", "HEAD..main", "image.png", "page.pdf", "test_fuzz", "goal", "value", "SELECT 1", "3", "0:0"),
    *("records", "def ", "*.py", "outputs/synthetic", "x=1", "preset=naive", "20260101T000000Z-train-abc"),
)
"""What the sandbox has, or what a caller would write."""

FITTING = {
    "cursor": ("", "", "3"),
    "record": ("", "20260101T000000Z-train-abc"),
    "run": ("", "latest"),
    "session": ("", "fuzz"),
    "keyword": ("", "fuzz"),
    "name": ("fuzz", "", "value"),
    "query": ("SELECT 1", "SELECT * FROM records", "value"),
    "revision": ("HEAD", "HEAD~1", "main", "HEAD~1..HEAD"),
    "paths": ("a.txt", "folder", "folder/b.py", "folder/test_b.py"),
    "path": ("a.txt", "folder", "folder/b.py", "README.md"),
    "overrides": ("seed=1", "preset=naive"),
}
"""What a caller who means well writes into a parameter of this name."""

HOSTILE = (
    *("../outside/secret.txt", "link_out/secret.txt", "link_out", "/etc/passwd", "~/.ssh/id_rsa", "..", ".", "/"),
    *("folder/../../outside", "folder//b.py", "file:///etc/passwd", "\\\\host\\share", "C:\\windows", ".git/config"),
    *("-rf", "--upload-pack=touch x", "--output=../outside/x", ":(top)", ":/", "@{-1}", "HEAD^{/x}", "a\0b", "\0"),
    *("$(touch ../outside/x)", "`touch ../outside/x`", "; touch ../outside/x", "| cat /etc/passwd", "%s%n", "{0}"),
    *("{{ 7 * 7 }}", "${oc.env:HOME}", "x._target_=os.system", "__import__('os').system('id')", "' OR 1=1 --"),
    *("SELECT * FROM read_text('/etc/passwd')", "COPY t TO '../outside/x'", "ATTACH '../outside/x' AS y"),
    *("(a+)+$", "[", "(?<x>", "*" * 200, "[unclosed", "**/**/**/**/*", "\n\n\n", "\r\n", "\t", " ", "\x1b[31m"),
    *("\u202eevil", "\ufeff", "e\u0301", "\U0001f600" * 40, "\ud800", "\ufffe", "ﷺ" * 50, "İ", "ß", "none", "null"),
    *("0x10", "1e999", "-1", "99999999999999999999", "NaN", "[]", "{}", '["a"]', '{"a": {"b": []}}', "A" * 100_000),
    *(
        "a/" * 3000,
        "[" * 50_000,
        "x" * 300,
        "../" * 400 + "etc/passwd",
        "con",
        "nul:",
        "<script>alert(1)</script>",
        "\\",
        '"',
        "'",
    ),
)
NUMBERS = (0, 1, -1, 2, 7, 20, 100, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**400, 0.5, -0.0, 1e308, float("inf"))
WRONG = (None, True, False, 0, 1.5, "", "x", [], {}, [None], [[]], {"a": 1}, ["a", 1, None], float("nan"))
ODD_NAMES = ("root", "report", "progress", "cancel", "facts", "context", "self", "__class__", "limitt", "", "\0", "a b")

MAKES = ("plausible", "plausible", "hostile", "hostile", "hostile", "wrong type", "unknown", "missing", "nested")


def arguments_for(schema: dict[str, Any], seed: str, broken: bool = False) -> dict[str, Any]:
    """Return arguments for an input schema.

    Args:
        schema: as announced: an object of flat properties.
        seed: the same text gives the same arguments.
        broken: with a name or a type that no tool takes, so that nothing can run.
    """
    draw = random.Random(seed)
    how = draw.choice(("unknown", "wrong type") if broken else MAKES)
    values = PLAUSIBLE if how == "plausible" else (*PLAUSIBLE, *HOSTILE, *HOSTILE)
    properties, required = schema.get("properties", {}), schema.get("required", [])
    chosen = [name for name in properties if name in required or draw.random() < 0.5]
    arguments = {
        name: _value(properties[name], _fitting(name, how, values), how == "plausible", draw) for name in chosen
    }
    return _spoilt(arguments, properties, how, draw) if how not in ("plausible", "hostile") else arguments


def _fitting(name: str, how: str, values: tuple[str, ...]) -> tuple[str, ...]:
    return FITTING.get(name, values) if how == "plausible" else values


def _value(schema: dict[str, Any], strings: tuple[str, ...], in_range: bool, draw: random.Random) -> Any:
    if "enum" in schema or "const" in schema:
        return draw.choice([*schema.get("enum", [schema.get("const")]), *([] if in_range else strings[-5:])])
    if "anyOf" in schema:
        return _value(draw.choice(schema["anyOf"]), strings, in_range, draw)
    kind = schema.get("type")
    if kind == "array":
        return [_value(schema.get("items", {}), strings, in_range, draw) for _ in range(draw.choice((0, 1, 1, 2, 5)))]
    if kind in ("integer", "number"):
        return _number(schema, kind == "integer", draw) if in_range or draw.random() < 0.4 else draw.choice(NUMBERS)
    if kind == "boolean":
        return draw.random() < 0.5
    return None if kind == "null" else draw.choice(strings)


def _number(schema: dict[str, Any], whole: bool, draw: random.Random) -> float:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = min(schema.get("maximum", schema.get("exclusiveMaximum", low + 50)), low + 50)
    return draw.randint(int(low), int(high)) if whole else draw.uniform(low, high)


def _spoilt(arguments: dict[str, Any], properties: dict[str, Any], how: str, draw: random.Random) -> dict[str, Any]:
    if how == "unknown" or not properties:
        return arguments | {draw.choice(ODD_NAMES): draw.choice(WRONG)}
    name = draw.choice(list(properties))
    if how == "missing":
        return {other: value for other, value in arguments.items() if other != name}
    if how == "nested":
        return arguments | {name: _nested(draw.choice((3, 30, 200)), draw.random() < 0.5)}
    # An object is a value of no parameter.
    return arguments | {name: draw.choice(({}, {"a": 1}, {"type": "string"}))}


def _nested(depth: int, as_list: bool) -> Any:
    value: Any = "deep"
    for _ in range(depth):
        value = [value] if as_list else {"a": value}
    return value
