"""Documents: nobody's words are lost, nothing is guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.handbook.blocks import (
    KEPT_NOTES,
    NUMBERS_CHANGED,
    Block,
    Document,
    DocumentError,
    Header,
    assemble,
    files_digest,
    parse_blocks,
    parse_document,
    text_digest,
)

HEADER = Header("findings", {"record": "records/x.json"})
SKELETON = """
<!-- BEGIN generated:summary -->
# Summary {version}
<!-- END generated:summary -->
<!-- BEGIN notes:lessons -->
nothing yet
<!-- END notes:lessons -->
"""
OTHER_SKELETON = """
<!-- BEGIN generated:intro -->
Another frame
<!-- END generated:intro -->
<!-- BEGIN notes:lessons -->another placeholder<!-- END notes:lessons -->
<!-- BEGIN generated:summary -->
{version}
<!-- END generated:summary -->
"""
WITHOUT_NOTES = "<!-- BEGIN generated:summary -->{version}<!-- END generated:summary -->"

# any text that a file can hold, with the pieces of markers made likely
note_texts = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.sampled_from(
            [
                *(
                    "\r\n",
                    "\n",
                    "\u2028",
                    "<!--",
                    "-->",
                    "<!-- BEGIN ",
                    "<!-- END ",
                    "notes:",
                    "{{ 1 }}",
                    "\x00",
                    "```",
                ),
                *("<!-- END notes:lessons -->", "<!-- BEGIN notes:lessons -->", "<!-- BEGIN generated:summary -->"),
            ]
        ),
    ),
    max_size=6,
).map("".join)


def render(
    previous: str | None = None,
    inputs: str = "sha256:a",
    skeleton: str = SKELETON,
    template: str = "v1",
    version: str = "1",
) -> str:
    before = parse_document(previous, "page.md") if previous is not None else None
    blocks = parse_blocks(skeleton.format(version=version), "template")
    return Document(HEADER, assemble(blocks, before, {"all": inputs}, template, "page.md")).text()


def note_of(text: str, name: str = "lessons") -> Block:
    block = parse_document(text, "page.md").block("notes", name)
    assert block is not None
    return block


def write_note(text: str, words: str) -> str:
    return text.replace("\nnothing yet\n", words)


@given(words=note_texts)
def test_any_note_survives_rerenders_and_template_changes_byte_for_byte_or_is_refused(words):
    written = write_note(render(), words)
    try:
        assert note_of(written).body == words
    except (DocumentError, AssertionError):
        # text that looks like a marker must be refused by every later step too, never half understood
        with pytest.raises(DocumentError):
            render(written)
        return
    for following in (
        render(render(written)),
        render(written, inputs="sha256:b", version="2"),
        render(written, skeleton=OTHER_SKELETON, template="v2"),
        render(render(written, skeleton=OTHER_SKELETON, template="v2"), template="v3"),
        render(written, skeleton=WITHOUT_NOTES, template="v2"),
        render(render(written, skeleton=WITHOUT_NOTES, template="v2"), template="v3"),
    ):
        if words != "\nnothing yet\n":
            assert note_of(following).body.encode() == words.encode()


@given(words=st.text(st.characters(exclude_categories=["Cs"])))
def test_ordinary_text_is_never_refused(words):
    if "<!--" not in words:
        assert note_of(render(write_note(render(), words))).body == words


@given(st.integers(0, 3), note_texts)
def test_rendering_again_gives_the_same_bytes(moves, words):
    text = write_note(render(), words.replace("<!--", ""))
    for move in range(moves):
        text = render(text, inputs=f"sha256:{move}")
    assert render(text, inputs=f"sha256:{moves}") == render(
        render(text, inputs=f"sha256:{moves}"), inputs=f"sha256:{moves}"
    )


def test_a_document_reads_back_as_it_was_written():
    text = render()
    assert parse_document(text, "page.md").text() == text


def test_an_unwritten_note_never_says_that_numbers_changed():
    assert NUMBERS_CHANGED not in render(render(), inputs="sha256:b")


def test_a_note_says_that_numbers_changed_when_its_inputs_moved_and_stops_when_it_is_rewritten():
    written = render(write_note(render(), "\nFaster because of X.\n"))
    assert NUMBERS_CHANGED not in written
    moved = render(written, inputs="sha256:b")
    assert NUMBERS_CHANGED in moved
    assert NUMBERS_CHANGED in render(moved, inputs="sha256:b")
    confirmed = render(moved.replace("Faster because of X.", "Faster because of Y."), inputs="sha256:b")
    assert NUMBERS_CHANGED not in confirmed
    assert "Faster because of Y." in confirmed


def test_a_note_written_after_the_last_render_was_written_against_what_that_render_showed():
    written = write_note(render(), "\nwords\n")
    assert NUMBERS_CHANGED in render(written, inputs="sha256:b")


def test_deleting_the_inputs_from_a_note_marker_confirms_the_note():
    moved = render(render(write_note(render(), "\nwords\n")), inputs="sha256:b")
    assert NUMBERS_CHANGED in moved
    confirmed = moved.replace("BEGIN notes:lessons inputs=sha256:a ", "BEGIN notes:lessons ")
    assert NUMBERS_CHANGED not in render(confirmed, inputs="sha256:b")


def test_a_written_note_whose_place_the_template_lost_is_kept_under_a_heading_and_an_unwritten_one_is_not():
    written = write_note(render(), "\nprecious\n")
    kept = render(written, skeleton=WITHOUT_NOTES, template="v2")
    assert "Notes kept from an earlier template" in kept
    assert "precious" in kept
    assert render(kept, skeleton=WITHOUT_NOTES, template="v2") == kept
    assert KEPT_NOTES not in render(render(), skeleton=WITHOUT_NOTES, template="v2")


BROKEN = {
    "a digit changed by hand": (("# Summary 1", "# Summary 2"), "generated:summary was edited by hand"),
    "a missing end": (("<!-- END generated:summary -->", ""), "generated:summary is not closed"),
    "a missing begin": (("<!-- BEGIN notes:lessons", "<!-- was notes:lessons"), "has no BEGIN before it"),
    "a misspelt marker": (("<!-- END notes:lessons -->", "<!-- END  notes:lessons -->"), "looks like a marker"),
    "a marker in capitals": (("<!-- END notes:lessons -->", "<!-- end notes:lessons -->"), "looks like a marker"),
    "a nested block": (("nothing yet", "<!-- BEGIN notes:inner -->x<!-- END notes:inner -->"), "do not nest"),
    "words between blocks": (("<!-- BEGIN notes:lessons", "lost words\n<!-- BEGIN notes:lessons"), "`lost words`"),
    "words at the end": (("<!-- END notes:lessons -->\n", "<!-- END notes:lessons -->\nlost"), "`lost`"),
    "a lone end": (("<!-- BEGIN notes:lessons", "<!-- END notes:x -->\n<!-- BEGIN notes:lessons"), "has no BEGIN"),
    "no header": (("<!-- OWNED", "<!-- MINE"), "is not owned"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_document_is_refused_with_its_name_and_the_way_out(case):
    (old, new), message = BROKEN[case]
    damaged = render().replace(old, new)
    assert damaged != render()
    with pytest.raises(DocumentError, match=message) as raised:
        render(damaged)
    assert str(raised.value).startswith("page.md")
    assert "render again" in str(raised.value)


def test_a_doubled_block_is_refused():
    text = render()
    block = text[text.index("<!-- BEGIN notes") :]
    with pytest.raises(DocumentError, match="notes:lessons is there twice"):
        render(text + "\n" + block)


@pytest.mark.parametrize("kind", ["generated", "notes"])
def test_a_block_deleted_under_the_same_template_is_refused_and_comes_with_a_new_one(kind):
    text = render()
    start = text.index(f"<!-- BEGIN {kind}")
    end_marker = f"<!-- END {kind}:{'summary' if kind == 'generated' else 'lessons'} -->"
    deleted = text[:start] + text[text.index(end_marker) + len(end_marker) :]
    if kind == "notes":
        with pytest.raises(DocumentError, match="notes:lessons is missing"):
            render(deleted)
        assert note_of(render(deleted, template="v2")).body == "\nnothing yet\n"
    else:
        # with no generated block left there is no version to go by: it counts as deleted
        with pytest.raises(DocumentError, match="generated:summary is missing"):
            render(deleted)


def test_an_emptied_generated_block_is_written_again():
    text = render()
    body = parse_document(text, "page.md").blocks[0].body
    assert render(text.replace(body, "\n")) == text


def test_the_digest_of_files_ignores_their_order_and_sees_a_name_and_a_byte(tmp_path):
    paths = [tmp_path / name for name in ("a.json", "b.json")]
    for path in paths:
        path.write_text(path.name)
    before = files_digest(paths, tmp_path)
    assert files_digest(paths[::-1], tmp_path) == before
    assert files_digest(paths, tmp_path.parent) != before
    paths[0].write_text("a.jsoN")
    assert files_digest(paths, tmp_path) != before


def test_text_digest_is_sha256_of_utf8():
    assert text_digest("").endswith("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
