"""Uses of a name: told apart by syntax, the definition first and tests last."""

from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.results import CHARACTER_LIMIT
from agent_tools.workspace.root import Root
from agent_tools.workspace.search.python_uses import python_uses
from agent_tools.workspace.search.usages import CodeUsages, UsageError, code_usages

STORE = """class Store:
    LIMIT = 3

    def get(self, key):
        return self.get(key)


class Other:
    def get(self):
        return self.get()
"""

USER = """import package.store
from package.store import Store


def work(thing: Store, limit=Store.LIMIT):
    store = Store()
    print(thing.get(1), {}.get(2), Other.get(3))
    return lambda: Store
"""


@pytest.fixture
def project(repository: Path) -> Path:
    (repository / "package").mkdir()
    (repository / "package" / "store.py").write_text(STORE)
    (repository / "user.py").write_text(USER)
    (repository / "dicts.py").write_text("x = {}.get(1)\n")
    (repository / "tests").mkdir()
    (repository / "tests" / "test_store.py").write_text("from package.store import Store\n\nStore().get(1)\n")
    (repository / "configs.yaml").write_text("a:\n  _target_: package.store.Store\nStoreroom: 1\n")
    (repository / "README.md").write_text("Use `Store` for Stores.\n")
    return repository


def uses(folder: Path, name: str, **arguments) -> CodeUsages:
    return anyio.run(lambda: code_usages(Root.at(folder), name, **arguments))


def places(answer: CodeUsages) -> list[str]:
    return [use.partition(" | ")[0] for use in answer.uses]


def test_definition_imports_calls_references_settings_mentions_and_tests_are_told_apart(project):
    answer = uses(project, "Store")
    assert places(answer) == [
        "package/store.py:1 definition",
        "user.py:2 import",
        "user.py:5 reference in work",
        "user.py:6 call in work",
        "user.py:8 reference in work",
        "configs.yaml:2 setting",
        "README.md:1 mention",
        "tests/test_store.py:1 test",
        "tests/test_store.py:3 test",
    ]
    assert answer.uses[3].endswith("| store = Store()")
    assert answer.counts == "1 definition, 1 import, 1 call, 2 reference, 1 setting, 1 mention, 2 test"
    assert answer.note == ""


def test_a_method_is_followed_only_where_its_class_is_named(project):
    assert places(uses(project, "Store.get")) == [
        "package/store.py:4 definition in Store",
        "package/store.py:5 call in Store.get",
        "user.py:7 call in work",
        "tests/test_store.py:3 test",
    ]


def test_constants_and_modules_have_uses_too(project):
    assert places(uses(project, "LIMIT")) == ["package/store.py:2 definition in Store", "user.py:5 reference in work"]
    module = places(uses(project, "store"))
    assert module[0] == "package/store.py:1 definition"
    assert {"user.py:1 import", "user.py:2 import"} <= set(module)


def test_concise_is_one_row_per_file(project):
    assert uses(project, "Store", response_format="concise").uses[0] == "package/store.py: 1 definition"
    assert "user.py: 2 import, 5 reference in work, 6 call in work, 8 reference in work" in (
        uses(project, "Store", response_format="concise").uses
    )


def test_only_below_a_folder(project):
    assert {place.partition(":")[0] for place in places(uses(project, "Store", path="tests"))} == {
        "tests/test_store.py"
    }


def test_pages_join_to_the_whole(project):
    whole, joined, cursor = uses(project, "Store").uses, [], ""
    for _ in whole:
        part = uses(project, "Store", limit=4, cursor=cursor)
        joined += part.uses
        cursor = part.next_cursor
        if not cursor:
            break
    assert joined == whole


def test_an_unknown_name_brings_the_nearest_also_those_written_otherwise(project):
    (project / "package" / "cache_manager.py").write_text("x = 1\n")
    answer = uses(project, "CacheManager")
    assert answer.uses == []
    assert "nothing here defines CacheManager; the nearest are cache_manager" in answer.note
    assert "code_search" in answer.note


@pytest.mark.parametrize("name", ["", " ", "a b", "a.", "1a", "a;b", "a\n", "x" * 81, "\u202e", "a-b"])
def test_what_is_no_name_is_refused_with_a_sentence(project, name):
    with pytest.raises(UsageError, match=r"is not a name; give one such as"):
        uses(project, name)


def test_a_file_with_an_error_is_searched_as_text(project):
    (project / "broken.py").write_text("def broken(:\n    Store()\n")
    assert "broken.py:2 mention" in places(uses(project, "Store"))


def test_what_hides_in_a_line_is_shown_and_secrets_are_masked(project):
    key = "ghp_" + "a1B2" * 10
    (project / "x.py").write_text(f'Store("\u202e", "{key}")\n')
    text = uses(project, "Store").model_dump_json()
    assert key not in text
    assert "<U+202E>" in text


def test_a_name_that_is_everywhere_stays_under_the_character_limit(repository):
    for number in range(40):
        (repository / f"f{number}.py").write_text(f"zebra = zebra({chr(34) * 2 + ' ' * 150!r})\n" * 60)
    for response_format in ("concise", "detailed"):
        answer = uses(repository, "zebra", limit=500, response_format=response_format)
        assert len(answer.model_dump_json()) < CHARACTER_LIMIT
        assert answer.next_cursor or response_format == "concise"


@given(st.text(max_size=200), st.sampled_from(["x", "A.b"]))
def test_any_text_has_uses_or_is_no_python(text, name):
    found = python_uses(text, name)
    assert found is None or all(1 <= use.line <= text.count("\n") + 1 for use in found)


def test_a_file_that_defines_and_uses_a_name_has_one_row(repository):
    (repository / "one.py").write_text("def zebra():\n    return 1\n\n\nprint(zebra())\n")
    (repository / "two.py").write_text("from one import zebra\n\nzebra()\n")
    rows = uses(repository, "zebra", response_format="concise").uses
    assert sorted(row.partition(":")[0] for row in rows) == ["one.py", "two.py"]
