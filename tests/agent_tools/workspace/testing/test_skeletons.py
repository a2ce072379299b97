"""A skeleton compiles, is collected and runs; each test fails with what is to be filled in, and for no other reason."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_tools.results import CHARACTER_LIMIT
from agent_tools.workspace.root import Root, RootError
from agent_tools.workspace.testing.python_targets import SourceModule, TargetError
from agent_tools.workspace.testing.skeletons import SkeletonResult, make_skeleton
from tests.agent_tools.small_projects import REPOSITORY

SAMPLE = 60

MODULE = '''
"""A module."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

if TYPE_CHECKING:
    from decimal import Decimal

Names = Annotated[tuple[str, ...], "names"]


class ShopError(Exception):
    """Something is wrong."""


@dataclass
class Shop:
    """A shop. It has a till."""

    name: str
    till: Path
    open: bool = False

    def sell(self, item: str, times: Annotated[int, Field(ge=1, le=9)]) -> float:
        """Sell an item and return its price.

        Raises:
            ShopError: the shop is closed.
            KeyError: there is no such item.
        """
        return 1.0

    @property
    def sign(self) -> str:
        """What stands over the door."""
        return self.name

    @classmethod
    def found(cls, names: Names) -> "Shop":
        """Found a shop."""
        return cls(names[0], Path())

    @staticmethod
    def tax(price: float) -> float:
        """Return the tax."""
        return price / 5


def polygons(image: NDArray[np.uint8], mode: Literal["fast", "exact"], *, limit: int = 3) -> NDArray[np.float32] | None:
    """Find polygons of shape (N, 4, 2)."""
    return None


def load(path: Path, shops: dict[str, Sequence[int]], price: "Decimal") -> None:
    """Load what is there. Nothing is returned. A quote: "it's" and a \\\\ backslash."""


async def fetch(shop: Shop, /, name: str) -> int | None:
    """Fetch a number."""
    return None


@contextlib.contextmanager
def opened(shop: Shop) -> Iterator[Shop]:
    """Open a shop for a while.

    Raises:
        ShopError: it is open.
    """
    yield shop


@contextlib.asynccontextmanager
async def awaited(name: str) -> AsyncIterator[int]:
    """Wait.

    Raises:
        ShopError: no time.
    """
    yield 1


def count(limit: int) -> Iterator[int]:
    """Count up.

    Raises:
        ValueError: below 0.
    """
    yield from range(limit)


def result(request, st=3): return 3


def test_of_the_trade(x: int) -> int:
    """Look like a test."""
    return x


def many(*args: int, **kwargs: str) -> list[int]:
    """Take anything."""
    return []
'''
NAMES = ["Shop", "polygons", "load", "fetch", "opened", "awaited", "count", "result", "test_of_the_trade", "many"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").touch()
    (tmp_path / "pkg" / "shop.py").write_text(MODULE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\npythonpath = .\n")
    return tmp_path


def skeleton(folder: Path, target: str, **arguments) -> SkeletonResult:
    return make_skeleton(Root.at(folder), target, **arguments)


def outcomes(folder: Path, *words: str) -> dict[str, str]:
    """Run pytest on a folder of skeletons and return test -> why it failed; '' where it passed."""
    log = folder / "log.jsonl"
    command = [sys.executable, "-m", "pytest", "-q", f"--report-log={log}", "-p", "no:cacheprovider", *words]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout[-3000:]
    told: dict[str, str] = {}
    for entry in map(json.loads, log.read_text().splitlines()):
        if entry.get("outcome") == "failed":
            told[entry["nodeid"]] = entry["longrepr"]["reprcrash"]["message"]
        elif entry.get("when") == "call":
            told[entry["nodeid"]] = ""
    return told


def test_every_test_of_a_skeleton_fails_with_what_is_to_be_filled_in(project):
    made = {}
    for number, name in enumerate(NAMES):
        made[name] = skeleton(project, f"pkg/shop.py::{name}", limit=60)
        (project / f"test_{number}.py").write_text(made[name].text)
    told = outcomes(project)
    assert {reason.partition(": ")[0] + reason[6:12] for reason in told.values()} == {"Failed: TODO"}
    assert len(told) == sum(len(one.tests) for one in made.values())
    assert told["test_2.py::test_load_nothing_is_returned"] == "Failed: TODO: make 'price': 'Decimal'"
    assert told["test_8.py::test_test_of_the_trade_looks_like_a_test"].endswith("what must hold: Look like a test.")


def filled_in(text: str) -> str:
    """The skeleton without its failing lines."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body = [part for part in node.body if "pytest.fail" not in ast.unparse(part)] or [ast.Pass()]
    return ast.unparse(tree)


def test_what_is_left_when_the_failing_lines_are_gone_calls_the_subject_with_values_of_its_types(project):
    text = skeleton(project, "pkg.shop.Shop").text
    (project / "test_shop.py").write_text(filled_in(text).replace("== ...", "is not None"))
    told = outcomes(project)
    assert told["test_shop.py::test_shop_sell_sells_an_item_and_return_its_price"] == ""
    assert told["test_shop.py::test_shop_tax_returns_the_tax"] == ""
    assert told["test_shop.py::test_shop_found_founds_a_shop"] == ""
    assert told["test_shop.py::test_shop_sign_what_stands_over_the_door"] == ""
    assert told["test_shop.py::test_shop_tax_holds_for_any_arguments"] == ""
    assert "DID NOT RAISE" in told["test_shop.py::test_shop_sell_raises_shop_error_when_the_shop_is_closed"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("pkg.shop.polygons", ['polygons(image=np.zeros((4, 2), dtype=np.uint8), mode="fast")'.replace('"', "'")]),
        ("pkg.shop.polygons", ["import numpy as np"]),
        ("pkg.shop.load", ["def price():", 'load(path=tmp_path / "example", shops={"example": [1]}, price=price)']),
        ("pkg.shop.load", ["def test_load_loads_what_is_there(price, tmp_path: Path):", "nothing_is_returned"]),
        ("pkg.shop.fetch", ['result = await fetch(shop, name="example")', "asyncio.run(use())"]),
        ("pkg.shop.opened", ["with opened(shop=shop) as result:", "with pytest.raises(ShopError), opened(shop=shop):"]),
        ("pkg.shop.count", ["result = list(count(limit=1))", "raises(ValueError)"]),
        ("pkg.shop.Shop.sell", ["times=1", 'return Shop(name="example", till=tmp_path / "example")']),
        ("pkg.shop.Shop.found", ['result = Shop.found(names=("example",))', "isinstance(result, Shop)"]),
        ("pkg.shop.Shop.tax", ["@given(price=st.floats(allow_nan=False))", "assert isinstance(result, float)"]),
        ("pkg.shop.result", ["from pkg.shop import result as subject", "subject(request=request_value)"]),
        ("pkg.shop.test_of_the_trade", ["import test_of_the_trade as subject"]),
        ("pkg/shop.py::Shop::sign", ["result = shop.sign\n", "test_shop_sign_what_stands_over_the_door"]),
    ],
)
def test_what_can_be_known_is_written(project, target, expected):
    text = skeleton(project, target).text
    assert [part for part in expected if part not in text] == [], text


def everything() -> Iterator[str]:
    root = Root.at(REPOSITORY)
    for path in sorted([*REPOSITORY.glob("ocr/**/*.py"), *REPOSITORY.glob("agent_tools/**/*.py")]):
        module = SourceModule.read(root, path)
        for name in module.definitions:
            if not name.startswith("_"):
                yield f"{root.relative(path)}::{name}"


@pytest.mark.slow
def test_skeletons_of_this_repository_compile_are_collected_and_fail_with_their_todos_alone(tmp_path):
    targets = [*everything()]
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    expected = 0
    for number, target in enumerate(targets[:: len(targets) // SAMPLE]):
        made = skeleton(REPOSITORY, target, limit=60)
        (tmp_path / f"test_{number}.py").write_text(made.text)
        expected += len(made.tests)
    told = outcomes(tmp_path)
    assert {test: reason for test, reason in told.items() if not reason.startswith("Failed: TODO: ")} == {}
    assert len(told) == expected > SAMPLE


def test_every_public_thing_of_the_workbench_has_a_skeleton_whose_names_are_known_and_whose_calls_fit(tmp_path):
    for number, target in enumerate(everything()):
        made = skeleton(REPOSITORY, target, limit=60)
        assert len(made.model_dump_json()) < CHARACTER_LIMIT
        (tmp_path / f"test_{number}.py").write_text(filled_in(made.text))
        if target.startswith("agent_tools/"):
            check_calls(target, made.text)
    ruff = [
        Path(sys.executable).with_name("ruff"),
        "check",
        "--isolated",
        "--select",
        "F",
        "--ignore",
        "F401",
        tmp_path,
    ]
    done = subprocess.run(ruff, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def check_calls(target: str, text: str) -> None:
    """Every call of a function or class by its name has arguments that its signature takes."""
    path, _, name = target.partition("::")
    subject = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            if inspect.isclass(subject) and not is_plain(subject):
                continue
            named = {keyword.arg or "": keyword.value for keyword in node.keywords}
            # Unwrapped: a decorator may give it other parameters, which its source does not say.
            inspect.signature(inspect.unwrap(subject)).bind(*node.args, **named)


def is_plain(subject: type) -> bool:
    """Whether what makes an object stands in the class itself: other constructors are inherited, and not looked up."""
    return "__init__" in vars(subject) or "__dataclass_fields__" in vars(subject)


def test_it_writes_only_when_asked_and_only_a_file_that_is_not_there(project):
    (project / "tests").mkdir()
    (project / "tests" / "__init__.py").touch()
    asked = skeleton(project, "pkg.shop.count")
    assert (asked.path, asked.exists, asked.written) == ("tests/pkg/test_shop.py", False, False)
    assert not (project / "tests" / "pkg").exists()
    written = skeleton(project, "pkg.shop.count", write=True)
    assert written.written
    assert (project / "tests" / "pkg" / "test_shop.py").read_text() == written.text
    assert (project / "tests" / "pkg" / "__init__.py").exists()
    again = skeleton(project, "pkg.shop.load", write=True)
    assert (again.exists, again.written) == (True, False)
    assert "exists already; add what is missing" in again.summary()
    assert (project / "tests" / "pkg" / "test_shop.py").read_text() == written.text


def test_it_belongs_where_the_tests_of_its_module_are(project):
    assert skeleton(REPOSITORY, "agent_tools.workspace.root.Root").path == "tests/agent_tools/workspace/test_root.py"
    (project / "pkg" / "test_shop.py").touch()
    assert skeleton(project, "pkg.shop.count").path == "pkg/test_shop.py"
    (project / "src" / "inner").mkdir(parents=True)
    (project / "src" / "inner" / "part.py").write_text("def f(): pass\n")
    assert skeleton(project, "inner.part.f").path == "tests/inner/test_part.py"
    assert "from inner.part import f" in skeleton(project, "src/inner/part.py::f").text


@pytest.mark.parametrize(
    ("target", "error", "said"),
    [
        ("pkg/shop.py", TargetError, "Name a function or class of pkg.shop: ShopError, Shop, polygons"),
        ("pkg.shop.cuont", TargetError, "pkg.shop has no 'cuont'; it has count"),
        ("pkg.shop.Shop.sel", TargetError, "pkg.shop has no 'Shop.sel'; it has sell"),
        ("pkg.shop.count.x", TargetError, "count is a function; it has no 'x'"),
        ("elsewhere.thing", TargetError, "No module here is the beginning of 'elsewhere.thing'"),
        ("pkg.shop; rm", TargetError, "no target"),
        ("../outside.py::f", RootError, "'..'"),
        ("/etc/passwd::f", RootError, "outside"),
        ("pkg/none.py::f", RootError, "does not exist"),
        ("pytest.ini::f", TargetError, "no Python module that a test could import"),
        ("", TargetError, "no target"),
        ("bad-name.py::f", TargetError, "no Python module that a test could import"),
        ("x" * 300, TargetError, "No module here"),
        ("broken.py::f", TargetError, "broken.py cannot be parsed"),
    ],
)
def test_a_target_that_is_none_is_refused_with_what_there_is(project, target, error, said):
    (project / "bad-name.py").write_text("def f(): pass\n")
    (project / "broken.py").write_text("def f(:\n")
    with pytest.raises(error) as refusal:
        skeleton(project, target)
    assert said in str(refusal.value)


def test_nothing_of_the_code_is_executed(project):
    (project / "pkg" / "trap.py").write_text(
        "from pathlib import Path\nPath('sprung').touch()\n\n\ndef f(x: open('sprung', 'w') = open('sprung', 'w')):\n"
        '    """Return __import__(\'os\').\n\n    Raises:\n        __import__: "); import os; ("\n    """\n'
    )
    text = skeleton(project, "pkg.trap.f").text
    ast.parse(text)
    assert not (project / "sprung").exists()


def test_a_link_out_of_the_root_is_not_written_through(project, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (project / "tests").symlink_to(outside)
    with pytest.raises(RootError):
        skeleton(project, "pkg.shop.count", write=True)
    assert list(outside.iterdir()) == []


def test_tests_beyond_the_limit_are_counted(project):
    cut = skeleton(project, "pkg.shop.Shop", limit=2)
    assert (len(cut.tests), cut.omitted > 2) == (2, True)
    assert "name a method, or raise limit" in cut.summary()
