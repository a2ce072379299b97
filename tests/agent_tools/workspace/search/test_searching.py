"""Answers to questions about code: right first, cut into pages, clean of what hides in files."""

import sqlite3
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_tools.results import CHARACTER_LIMIT, CursorError
from agent_tools.workspace.root import Root, RootError
from agent_tools.workspace.search import searching as search_module
from agent_tools.workspace.search.database import FILE
from agent_tools.workspace.search.searching import IndexState, SearchHits, code_search, index_refresh


def ask(folder: Path, query: str, **arguments) -> SearchHits:
    return anyio.run(lambda: code_search(Root.at(folder), query, **arguments))


def titles(answer: SearchHits) -> list[str]:
    return [hit.partition(" - ")[0] for hit in answer.hits]


LOADING = '''"""Pictures from files."""


class ImageLoader:
    """Reads a JPEG from disk."""

    def decode(self, path):
        """Turn bytes into pixels."""
        return path


def normalise_pixels(image):
    """Subtract the mean and divide by the deviation."""
    return image
'''


@pytest.fixture
def project(repository: Path) -> Path:
    (repository / "loading.py").write_text(LOADING)
    (repository / "users.py").write_text("from loading import ImageLoader\n\n\ndef work():\n    return ImageLoader()\n")
    (repository / "tests").mkdir()
    (repository / "tests" / "test_loading.py").write_text(
        "def test_the_image_loader_reads_every_jpeg_from_disk():\n    ImageLoader()\n"
    )
    (repository / "README.md").write_text("# Loading images\n\nThe image loader reads a JPEG from disk.\n")
    (repository / "base.yaml").write_text("learning_rate: 0.1  # step of the optimizer\n")
    (repository / "Makefile").write_text("# Runs ruff.\nlint:\n\truff check\n")
    return repository


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("where is the normalization logic", "loading.py:12 normalise_pixels"),
        ("ImageLoader", "loading.py:4 ImageLoader"),
        ("imageload", "loading.py:4 ImageLoader"),
        ("photo reading", "loading.py:4 ImageLoader"),
        ("optimizer step", "base.yaml:1 learning_rate"),
        ("lint", "Makefile:2 lint"),
    ],
)
def test_the_best_answer_comes_first(project, query, first):
    assert titles(ask(project, query))[0] == first


def test_a_hit_says_where_what_and_what_for(project):
    assert "loading.py:7 ImageLoader.decode - Turn bytes into pixels." in ask(project, "decode").hits


def test_definitions_come_before_tests_and_documents_of_them(project):
    places = [title.partition(":")[0] for title in titles(ask(project, "image loader reads jpeg from disk"))]
    assert places[0] == "loading.py"
    assert set(places) >= {"README.md", "tests/test_loading.py"}


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("function", "loading.py:7 ImageLoader.decode"),
        ("class", "loading.py:4 ImageLoader"),
        ("heading", "README.md:1 Loading images"),
        ("test", "tests/test_loading.py:1 test_the_image_loader_reads_every_jpeg_from_disk"),
        ("config", "base.yaml:1 learning_rate"),
    ],
)
def test_one_kind_comes_alone(project, kind, first):
    assert titles(ask(project, "image loader jpeg learning", kind=kind))[0] == first


def test_one_folder_or_file_comes_alone(project):
    assert {title.partition(":")[0] for title in titles(ask(project, "image", path="tests"))} == {
        "tests/test_loading.py"
    }
    assert {title.partition(":")[0] for title in titles(ask(project, "image", path="README.md"))} == {"README.md"}
    assert len(ask(project, "image", path=".").hits) == len(ask(project, "image").hits)


def test_detail_adds_declaration_and_text_as_it_stands(project):
    (hit,) = ask(project, "normalise_pixels", response_format="detailed", kind="function", limit=1).hits
    assert "def normalise_pixels(image)\n" in hit
    assert hit.endswith("    return image")


def test_a_change_is_found_by_the_next_question(project):
    assert not ask(project, "zebra").hits
    (project / "new.py").write_text("def zebra(): pass\n")
    assert titles(ask(project, "zebra")) == ["new.py:1 zebra"]


def test_pages_join_to_the_whole(project):
    whole = ask(project, "image", limit=100)
    joined, cursor = [], ""
    for _ in range(len(whole.hits)):
        part = ask(project, "image", limit=2, cursor=cursor)
        joined += part.hits
        cursor = part.next_cursor
        if not cursor:
            break
    assert joined == whole.hits
    assert len(joined) > 4


def test_no_hit_says_the_nearest_words_and_what_else_to_do(project):
    answer = ask(project, "normalisatio", kind="class")
    assert answer.hits == []
    assert "normal" in answer.note
    assert "file_find" in answer.note
    assert "leave kind and path out" in answer.note
    assert "no word in it" in ask(project, "?!").note


def test_a_question_about_uses_names_the_tool_for_them(project):
    assert "code_usages lists every use of ImageLoader" in ask(project, "usage examples of ImageLoader").note
    assert ask(project, "ImageLoader").note == ""


def test_a_question_about_many_files_is_not_answered_by_one(repository):
    (repository / "many.py").write_text("".join(f"def zebra_{number}(): pass\n" for number in range(20)))
    (repository / "other.py").write_text("def run():\n    zebra = 1\n")
    assert "other.py:1 run" in titles(ask(repository, "zebra"))[:4]


# --- attacks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        '"', "'", '""', "a AND", "NOT", "NEAR(a b)", "name:x", "a*", "^a", "(", "a OR (b", "-", "{name} : x", "a\0b",
        "'; drop table files; --", "\u202e", "\ud800", "AND OR NOT", "🙂", "x" * 10_000, "word " * 2000, "%", "_",
    ],
)  # fmt: skip
def test_no_query_is_an_error(project, query):
    answer = ask(project, query)
    assert len(answer.model_dump_json()) < CHARACTER_LIMIT


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
def test_any_text_is_a_query(project, query):
    ask(project, query, response_format="detailed")


def test_what_hides_in_a_file_is_shown_and_secrets_are_masked(repository):
    key = "ghp_" + "a1B2" * 10
    (repository / "x.py").write_text(
        f'def zebra():\n    """Say \u202egood."""\n    token = "{key}"\n\n\ndef zebra_of():\n    """{key}"""\n'
    )
    for response_format in ("concise", "detailed"):
        answer = ask(repository, "zebra", response_format=response_format)
        text = answer.model_dump_json() + answer.summary()
        assert key not in text
        assert "\u202e" not in text
        assert "<U+202E>" in text
        assert answer.untrusted


def test_the_nearest_words_are_words_and_no_keys(repository):
    key = "AKIA" + "Q7" * 8
    (repository / "x.py").write_text(f'def token():\n    """{key}"""\n')
    answer = ask(repository, key[:-1] + "Z", kind="class")
    assert key.lower() not in answer.note.lower()


def test_no_answer_exceeds_the_character_limit(repository):
    line = '"\\' * 200
    (repository / "x.py").write_text(
        "".join(f"def zebra_{n}():\n    '''{'x' * 900}'''\n    {line!r}\n" for n in range(150))
    )
    answer = ask(repository, "zebra", limit=100, response_format="detailed")
    assert len(answer.model_dump_json()) < CHARACTER_LIMIT
    assert answer.next_cursor


def test_a_file_that_goes_before_it_is_shown_is_said_to_be_gone(project, monkeypatch):
    def gone(*_: object) -> bytes:
        raise FileNotFoundError

    monkeypatch.setattr(search_module, "read_whole", gone)
    assert "(gone meanwhile)" in ask(project, "normalise", response_format="detailed").hits[0]


def test_damage_that_a_question_runs_into_is_mended_and_said_so(project):
    ask(project, "image")
    database = sqlite3.connect(project / FILE)
    database.execute("drop table body_words")
    database.commit()
    database.close()
    answer = ask(project, "image")
    assert answer.hits
    assert "built anew" in answer.note


@pytest.mark.parametrize("path", ["..", "/etc", "-x", ":(top)", "a\0b"])
def test_a_path_outside_is_refused(project, path):
    with pytest.raises(RootError):
        ask(project, "image", path=path)


def test_a_made_up_cursor_is_refused(project):
    with pytest.raises(CursorError, match="next_cursor"):
        ask(project, "image", cursor="x")
    assert ask(project, "image", cursor="500").hits == []


def test_the_state_of_the_index_says_what_it_skipped(project):
    (project / "broken.py").write_text("def (\n")

    def state(**arguments: bool) -> IndexState:
        return anyio.run(lambda: index_refresh(Root.at(project), **arguments))

    first = state()
    assert (first.files, first.changed, first.removed) == (8, 8, 0)
    assert first.skipped == ["broken.py: indexed as plain text: not valid Python in line 1"]
    assert first.bytes > 10_000
    assert state().changed == 0
    again = state(rebuild=True)
    assert (again.changed, again.note) == (8, "the index was built anew: that was asked for")
    assert "8 files" in again.summary()


def test_questions_at_once_disturb_each_other_in_nothing(project):
    answers: list[SearchHits] = []

    async def one() -> None:
        answers.append(await code_search(Root.at(project), "image"))

    async def several() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(one)

    anyio.run(several)
    assert [answer.note for answer in answers] == [""] * 8
    assert all(answer == answers[0] for answer in answers)


def test_a_hidden_folder_can_be_searched_by_its_name(repository):
    (repository / ".github").mkdir()
    (repository / ".github" / "zebra.py").write_text("def count_zebras():\n    pass\n")
    assert any(".github/zebra.py" in hit for hit in ask(repository, "count zebras", path=".github").hits)


def test_a_small_folder_is_found_in_however_common_the_word_is_elsewhere(repository):
    (repository / "common.py").write_text("".join(f"def path_{n}():\n    'The path.'\n\n\n" for n in range(700)))
    (repository / "small").mkdir()
    (repository / "small" / "odd.py").write_text("def other():\n    'Something else.'\n    return 'a path ' * 3\n")
    (hit,) = [hit for hit in ask(repository, "path", path="small").hits if "other" in hit]
    assert hit.startswith("small/odd.py:1")
