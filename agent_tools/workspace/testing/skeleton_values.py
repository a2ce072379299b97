"""Values, strategies and checks for a type, read from its annotation."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent_tools.workspace.testing.python_targets import SourceModule

SCALARS = {
    "int": ("1", "st.integers({})"),
    "float": ("0.5", "st.floats({}allow_nan=False)"),
    "bool": ("True", "st.booleans()"),
    "str": ('"example"', "st.text()"),
    "bytes": ('b"example"', "st.binary()"),
}
LISTS = frozenset({"list", "List", "Sequence", "Iterable", "Collection", "Iterator", "MutableSequence"})
SETS = {"set": "st.sets", "Set": "st.sets", "frozenset": "st.frozensets", "FrozenSet": "st.frozensets"}
MAPPINGS = frozenset({"dict", "Dict", "Mapping", "MutableMapping"})
ARRAYS = frozenset({"ndarray", "NDArray", "ArrayLike"})
_NOT_KINDS = frozenset({"ndarray", "typing", "dtype", "generic", "number", "floating", "integer"})
CHECKED = frozenset({*SCALARS, "list", "dict", "set", "frozenset", "tuple"})
BOUNDS = {"ge": "min_value", "le": "max_value"}
DEEPEST = 6


@dataclass
class Imports:
    """What the text has to import: `import x as y` lines and names by module."""

    plain: set[str] = field(default_factory=set)
    names: dict[str, set[str]] = field(default_factory=dict)

    def add(self, module: str, name: str) -> None:
        """Import a name from a module."""
        self.names.setdefault(module, set()).add(name)


@dataclass
class Values:
    """Reads annotations as the module that they stand in means them."""

    module: SourceModule
    imports: Imports

    def example(self, annotation: ast.expr | None, depth: int = 0) -> str | None:
        """Return an expression of this type, `tmp_path` for a path; None where there is no obvious one."""
        name, parts = self._parsed(annotation)
        if depth > DEEPEST:
            return None
        if name in SCALARS:
            return dict(_keywords(annotation)).get("ge", SCALARS[name][0])
        if name in _SIMPLE or name in ARRAYS:
            return self._simple(name, annotation)
        if name == "Literal":
            return ast.unparse(parts[0])
        inner = [self.example(part, depth + 1) for part in parts if not _is_ellipsis(part)]
        given = [one for one in inner if one is not None]
        if name == "Union":
            return given[0] if given else None
        return _container(name, given) if len(given) == len(inner) else None

    def strategy(self, annotation: ast.expr | None, depth: int = 0) -> str | None:
        """Return a strategy of hypothesis for this type; None where there is no obvious one."""
        name, parts = self._parsed(annotation)
        if name in SCALARS:
            return SCALARS[name][1].format(_limits(annotation, ", " if name == "float" else ""))
        if name == "None":
            return "st.none()"
        if name == "Literal":
            return f"st.sampled_from([{', '.join(map(ast.unparse, parts))}])"
        inner = [
            self.strategy(part, depth + 1) if depth < DEEPEST else None for part in parts if not _is_ellipsis(part)
        ]
        given = [one for one in inner if one is not None]
        is_variable = len(parts) == 2 and _is_ellipsis(parts[1])
        return _of_strategies(name, given, is_variable) if given and len(given) == len(inner) else None

    def checks(self, annotation: ast.expr | None) -> list[str]:
        """Return assertions about `result` that follow from its annotation."""
        name, parts = self._parsed(annotation)
        if name == "None":
            return ["assert result is None"]
        if name in ARRAYS:
            self.imports.plain.add("import numpy as np")
            return ["assert isinstance(result, np.ndarray)", "assert result.shape == (0,)  # TODO: what is promised"]
        kinds = [self._checked(part) for part in (parts if name == "Union" else [annotation])]
        if not kinds or None in kinds:
            return []
        classes = sorted({kind for kind in kinds if kind and kind != "None"})
        if not classes:
            return []
        test = f"isinstance(result, {classes[0] if len(classes) == 1 else ' | '.join(classes)})"
        return [f"assert result is None or {test}" if "None" in kinds else f"assert {test}"]

    def importable(self, name: str) -> bool:
        """Import a class of the project, or one that the module imports, into the text; tell whether it worked."""
        found = self.module.origin(name)
        if found is not None and found[1] in found[0].definitions:
            self.imports.add(found[0].name, found[1])
            return found[1] == name
        module, original = self.module.imports.get(name, ("", ""))
        if original:
            self.imports.add(module, original if original == name else f"{original} as {name}")
        return bool(original)

    def _checked(self, annotation: ast.expr | None) -> str | None:
        name, _ = self._parsed(annotation)
        if name == "None" or name in CHECKED:
            return name
        if name == "Path":
            self.imports.add("pathlib", "Path")
            return name
        origin = self.module.origin(name) if name else None
        is_class = origin is not None and isinstance(origin[0].definitions.get(origin[1]), ast.ClassDef)
        return name if is_class and "Protocol" not in name and self.importable(name) else None

    def _parsed(self, annotation: ast.expr | None, depth: int = 0) -> tuple[str, list[ast.expr]]:
        """The last name of a type and its parts; unions are `Union`, aliases what they stand for; '' is no type."""
        node = _unquoted(annotation)
        if isinstance(node, ast.Constant):
            return ("None" if node.value is None else ""), []
        if isinstance(node, ast.BinOp):
            return "Union", [*_alternatives(node)]
        if isinstance(node, ast.Subscript):
            return self._subscripted(node, depth)
        name = _name(node)
        alias = self.module.origin(name) if name and depth < DEEPEST else None
        if alias is not None and alias[1] in alias[0].aliases:
            return Values(alias[0], self.imports)._parsed(alias[0].aliases[alias[1]], depth + 1)
        return name, []

    def _subscripted(self, node: ast.Subscript, depth: int) -> tuple[str, list[ast.expr]]:
        name = _name(node.value)
        parts = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        if name in ("Annotated", "Final", "Required", "NotRequired") and depth < DEEPEST:
            return self._parsed(parts[0], depth + 1)
        return ("Union", [*parts, ast.Constant(None)]) if name == "Optional" else (name, parts)

    def _simple(self, name: str, annotation: ast.expr | None) -> str:
        if name in ARRAYS:
            self.imports.plain.add("import numpy as np")
            kind = _dtype(annotation)
            return f"np.zeros((4, 2){f', dtype={kind}' if kind else ''})"
        expression, imported = _SIMPLE[name]
        for module, names in imported.items():
            for one in names:
                self.imports.add(module, one)
        return expression


def _limits(annotation: ast.expr | None, end: str) -> str:
    """Bounds of `Annotated[int, Field(ge=...)]` as a strategy takes them."""
    given = [f"{BOUNDS[name]}={value}" for name, value in _keywords(annotation)]
    return ", ".join(given) + (end if given else "")


def _of_strategies(name: str, given: list[str], is_variable: bool) -> str | None:
    if name == "Union":
        return " | ".join(given)
    if name in ("tuple", "Tuple"):
        return f"st.lists({given[0]}).map(tuple)" if is_variable else f"st.tuples({', '.join(given)})"
    if name in MAPPINGS:
        return f"st.dictionaries({', '.join(given)})" if len(given) == 2 else None
    if name in LISTS or name in SETS:
        return f"{SETS.get(name, 'st.lists')}({given[0]})"
    return None


_SIMPLE: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "Path": ('tmp_path / "example"', {"pathlib": ("Path",)}),
    "PurePath": ('tmp_path / "example"', {"pathlib": ("Path",)}),
    "None": ("None", {}),
    "Any": ("object()", {}),
    "object": ("object()", {}),
    "Callable": ("lambda *_args, **_named: None", {}),
    "datetime": ("datetime(2026, 1, 2, tzinfo=UTC)", {"datetime": ("datetime", "UTC")}),
    "date": ("date(2026, 1, 2)", {"datetime": ("date",)}),
}


def _container(name: str, parts: list[str]) -> str | None:
    first = parts[0] if parts else ""
    made = {
        **dict.fromkeys(LISTS, f"[{first}]"),
        **dict.fromkeys(MAPPINGS, "{" + ": ".join(parts) + "}" if len(parts) == 2 else "{}"),
        **dict.fromkeys(("tuple", "Tuple"), f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"),
        **dict.fromkeys(("set", "Set"), "{" + first + "}" if parts else "set()"),
        **dict.fromkeys(("frozenset", "FrozenSet"), f"frozenset([{first}])"),
        "Callable": _SIMPLE["Callable"][0],
    }
    return made.get(name)


def _unquoted(node: ast.expr | None) -> ast.expr | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return ast.parse(node.value, mode="eval").body
        except SyntaxError:
            return None
    return node


def _name(node: ast.expr | None) -> str:
    return str(getattr(node, "attr", getattr(node, "id", "")))


def _alternatives(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from _alternatives(node.left)
        yield from _alternatives(node.right)
    else:
        yield node


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis


def _keywords(annotation: ast.expr | None) -> list[tuple[str, str]]:
    calls = [node for node in ast.walk(annotation) if isinstance(node, ast.Call)] if annotation is not None else []
    return [
        (keyword.arg, ast.unparse(keyword.value))
        for call in calls
        for keyword in call.keywords
        if keyword.arg in BOUNDS and isinstance(keyword.value, ast.Constant)
    ]


def _dtype(annotation: ast.expr | None) -> str:
    nodes = ast.walk(annotation) if annotation is not None else ()
    names = [node.attr for node in nodes if isinstance(node, ast.Attribute) and _name(node.value) == "np"]
    kinds = [name for name in names if name not in _NOT_KINDS]
    return f"np.{kinds[0]}" if kinds else ""
