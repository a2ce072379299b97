"""The web page before Sphinx sees it: links that arrive, records as rows, and originals that nobody touches."""

from __future__ import annotations

import json
import posixpath
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent_tools.handbook import render
from agent_tools.handbook.figures import SourceLink, encode, read_line
from agent_tools.handbook.site.links import Places, SiteError, with_web_links
from agent_tools.handbook.site.staging import stage
from agent_tools.handbook.site.start_page import PANELS
from agent_tools.handbook.site.values import FOLDED_ABOVE, value_table
from tests.agent_tools.handbook import factory
from tests.agent_tools.records.test_pictures import evaluated, profiled

PLACES = Places(
    pages=frozenset({"README.md", "docs/a.md", "docs/plans/p.md"}),
    records=frozenset({"logs/s/records/R.json"}),
    pictures={"logs/s/p.svg": "logs/s/records/R.json", "docs/free.png": ""},
    exists={"configs", "configs/base.yaml"}.__contains__,
)


class Elements(HTMLParser):
    """Every start tag with an id or an address: (tag, attributes)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def ids(text: str) -> list[str]:
    return [attributes["id"] for _, attributes in Elements(text).found if attributes.get("id")]


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = factory.project(tmp_path)
    factory.store(folder / "records", factory.comparison(), factory.history(), factory.simulation())
    render.render_all(tmp_path)
    (tmp_path / "README.md").write_text("# Read me\n\n[state](docs/ai_handbook/99_current_state.md)\n")
    return folder


def staged(root: Path) -> Path:
    folder = root.parent / f"{root.name}-staged"
    stage(root, folder)
    return folder


# --- links -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "before", "after"),
    [
        (
            "docs/a.md",
            "1.5 ([R](../logs/s/records/R.json#/a/b:x,ratio!@0!y%20z))",
            '1.5 (<a class="source" href="../logs/s/records/R.html#/a/b:x,ratio!@0!y%20z">R</a>)',
        ),
        ("docs/a.md", "[R](../logs/s/records/R.json)", '<a class="source" href="../logs/s/records/R.html">R</a>'),
        (
            "docs/a.md",
            "[p](plans/p.md#/target:value)",
            '<a class="source" href="plans/p.html#/target:value">p</a>',
        ),
        ("docs/a.md", "[p](plans/p.md#notes) [t](#top)", "[p](plans/p.md#notes) [t](#top)"),
        ("docs/a.md", "[w](https://example.org/a.md) <https://x.y>", "[w](https://example.org/a.md) <https://x.y>"),
        ("docs/a.md", "[base](../configs/base.yaml)", "base (`configs/base.yaml`)"),
        ("README.md", "[`configs/base.yaml`](configs/base.yaml#L3)", "`configs/base.yaml`"),
        ("README.md", "[all of\nit](configs/)", "all of\nit (`configs`)"),
        ("README.md", "[the plot](logs/s/p.svg)", '<a href="logs/s/p.svg">the plot</a>'),
        (
            "README.md",
            "see ![a \\[b\\]](docs/free.png) here",
            'see <img src="docs/free.png" alt="a [b]" loading="lazy"> here',
        ),
    ],
)
def test_a_link_leads_where_the_page_has_what_it_names(page, before, after):
    assert with_web_links(before, page, PLACES) == after


@pytest.mark.parametrize(
    "text",
    [
        "`[x](gone.md)` and ``a ` [x](gone.md)``",
        "```\n[x](gone.md)\n```\n",
        "~~~~\n[x](gone.md)\n~~~\n~~~~\n",
        "  - ```bash\n    [x](gone.md)\n    ```\n",
        "```\n[x](gone.md) in a fence that never ends",
        "<!-- [x](gone.md) -->",
        r"\[x\](gone.md)",
        "a `lone tick, then a paragraph\n\n",
    ],
)
def test_what_is_only_quoted_stays(text):
    assert with_web_links(text, "README.md", PLACES) == text


def test_a_tick_that_is_never_closed_hides_no_link():
    assert "R.html" in with_web_links("a ` tick [R](logs/s/records/R.json)\n\n` another", "README.md", PLACES)


def test_a_plot_with_a_line_to_itself_becomes_a_figure_with_its_record():
    text = "above\n\n![The plot](p.svg)\n\nbelow ![The plot](p.svg)\n"
    figure, below = with_web_links(text, "logs/s/f.md", PLACES).split("below")
    elements = Elements(figure).found
    assert ("figure", {"class": "plot"}) in elements
    assert ("img", {"src": "p.svg", "alt": "The plot", "loading": "lazy"}) in elements
    assert [attributes["href"] for tag, attributes in elements if tag == "a"] == ["records/R.html", "p.svg"]
    assert "figure" not in below


def test_text_beside_a_plot_is_no_part_of_its_figure():
    assert "figure" not in with_web_links("![p](p.svg) and ![p](p.svg)", "logs/s/f.md", PLACES)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("gone.md", "README.md links gone.md, which is not there; mend the link."),
        ("../outside.md", "is not there"),
        ("/etc/passwd", "is not there"),
        ("logs/s/records/X.json#/a:b", "is not there"),
    ],
)
def test_a_link_that_leads_nowhere_is_refused_with_its_page(target, said):
    with pytest.raises(SiteError, match=re.escape(said)):
        with_web_links(f"[x]({target})", "README.md", PLACES)


def test_a_picture_that_is_not_there_is_refused():
    with pytest.raises(SiteError, match=r"README\.md shows gone\.svg, which is no picture"):
        with_web_links("![x](gone.svg)", "README.md", PLACES)


quoted = st.sampled_from(
    ["`[x](gone.md)` ", "``[`](gone.md)`` ", "<!-- ![](gone) -->", "\n\n```\n[x](gone.md)\n```\n\n"]
)
plain = st.text(alphabet="ab |*_#()<&é\n-", max_size=12)
steps = st.lists(st.text(min_size=1, max_size=6).map(encode), min_size=1, max_size=3).map("/".join)


@given(parts=st.lists(st.tuples(plain, quoted | steps), max_size=6), end=plain)
def test_whatever_stands_around_it_a_number_leads_to_its_record_and_a_quotation_stays(parts, end):
    before = after = ""
    for text, part in parts:
        before += text
        after += text
        if part.startswith(("`", "<", "\n")):
            before += part
            after += part
        else:
            before += f"[R](records/R.json#/{part}:{part})"
            after += f'<a class="source" href="records/R.html#/{part}:{part}">R</a>'
    assert unescape(with_web_links(before + end, "logs/s/f.md", PLACES)) == unescape(after + end)


@given(st.text(alphabet="[]()!`~\\<>-# \nabR./", max_size=60))
def test_any_text_is_rewritten_or_refused_with_one_sentence(text):
    said = refusal(text)
    assert said == "" or (said.startswith("docs/a.md ") and "\n" not in said)


def refusal(text: str) -> str:
    try:
        with_web_links(text, "docs/a.md", PLACES)
    except SiteError as error:
        return str(error)
    return ""


# --- values ------------------------------------------------------------------------------------------------------


def test_every_value_is_a_row_with_its_path_and_long_lists_are_folded():
    data = {"a": {"b c": 1.5, "/": [True, None]}, "samples": [{"s": n} for n in range(FOLDED_ABOVE + 1)], "none": []}
    table = value_table(data)
    rows = ids(table)
    assert rows[:5] == ["/a", "/a/b%20c", "/a/%2F", "/a/%2F/0", "/a/%2F/1"]
    assert rows[5:8] == ["/samples", "/samples/0", "/samples/0/s"]
    assert rows[-1] == "/none"
    assert len(rows) == len(set(rows))
    assert [attributes for tag, attributes in Elements(table).found if tag == "details"] == [{}]
    assert f"<summary>samples <span>{FOLDED_ABOVE + 1} entries</span>" in table
    assert "<td>1.5</td>" in table
    assert "<td>null</td>" in table


@example({"a": "two lines\n\n<script>and a third\r\n\r\n</script>"})
@given(
    st.recursive(st.none() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner))
)
def test_no_value_ends_the_block_of_html_or_becomes_html(node):
    table = value_table({"x": node})
    assert not re.search(r"\n\s*\n.", table)
    assert {tag for tag, _ in Elements(table).found} <= {
        "table",
        "tbody",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "span",
    }


# --- staging -----------------------------------------------------------------------------------------------------


def test_staging_reads_the_originals_and_writes_only_what_changed(session, tmp_path):
    def content(root):
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}

    before = content(tmp_path)
    folder = staged(tmp_path)
    first = content(folder)
    (folder / "old.md").write_text("a page that is gone\n")
    staged(tmp_path)
    assert content(folder) == first
    assert content(tmp_path) == before
    (tmp_path / "README.md").write_text("# Read me again\n")
    staged(tmp_path)
    assert [path.name for path, now in content(folder).items() if first[path] != now] == ["README.md"]


def test_no_marker_of_the_renderer_reaches_a_page_and_notes_do(session, tmp_path):
    (page,) = session.glob("*3fa9c1-findings.md")
    page.write_text(page.read_text().replace("*Nothing written yet: what explains", "It was the disk. *what explains"))
    folder = staged(tmp_path)
    pages = {path.name: path.read_text() for path in folder.rglob("*.md")}
    assert not [name for name, text in pages.items() if "OWNED document" in text or "BEGIN " in text or "END " in text]
    assert "It was the disk." in pages[page.name]


def test_every_number_of_every_page_names_values_that_the_page_of_its_record_has(session, tmp_path):
    folder = staged(tmp_path)
    checked = 0
    for document in [*session.glob("*.md"), *(tmp_path / "docs").rglob("*.md")]:
        for line in document.read_text().split("\n"):
            for link in (part for part in read_line(line) if isinstance(part, SourceLink)):
                there = set(
                    ids((folder / document.parent.relative_to(tmp_path) / link.file).with_suffix(".md").read_text())
                )
                for path in values_of(link):
                    pattern = re.compile("/" + re.escape(path).replace(r"\*", "[^/]+"))
                    assert any(pattern.fullmatch(place) for place in there), (document.name, path)
                    checked += 1
    assert checked > 100


def values_of(link: SourceLink) -> list[str]:
    paths = [path for figure in link.figures for path in (figure.split("!")[1:] or [figure])]
    return [path for path in paths if not path.startswith("@")]


def test_the_page_of_a_record_says_what_it_is_and_gives_its_file(session, tmp_path):
    folder = staged(tmp_path)
    record = factory.ladder()
    text = (folder / f"logs/{session.name}/records/{record.id}.md").read_text()
    for words in (
        "# Record 3fa9c1: Main ladder",
        "**Kind:** benchmark",
        "2026-11-21 20:06 UTC",
        "`0123456789ab` on `main`",
    ):
        assert words in text
    assert "(../main-3fa9c1-findings.md)" in text
    assert f'<a href="{record.id}.json" download>' in text
    original = session / f"records/{record.id}.json"
    assert (folder / "extra" / original.relative_to(tmp_path)).read_bytes() == original.read_bytes()
    assert set(json.loads(original.read_text())) == {place[1:] for place in ids(text) if place.count("/") == 1}


def test_a_plan_shows_its_header_as_values_and_its_notes_as_text(session, tmp_path):
    text = (staged(tmp_path) / "docs/ai_handbook/07_planning/plans/target-ratio_to_first.md").read_text()
    assert text.startswith("# target-ratio_to_first\n")
    assert "/target/value" in ids(text)
    assert text.endswith("\nFree notes.\n")


def test_the_start_page_shows_the_newest_plot_of_each_kind(session, tmp_path):
    older, newer = factory.ladder(), factory.ladder("20261125T200622Z-benchmark-4fa9c1", days=4)
    factory.store(session / "records", newer)
    render.render_all(tmp_path)
    text = (staged(tmp_path) / "index.md").read_text()
    assert f"records/{newer.id}.html" in text
    assert f"records/{older.id}.html" not in text
    shown = [attributes["src"] for tag, attributes in Elements(text).found if tag == "img"]
    kinds = [posixpath.basename(str(source)).rsplit("-", 1)[1] for source in shown]
    assert kinds == ["ladder.svg", "comparison.svg", "history.svg"]


def test_the_start_page_says_what_would_make_a_plot_that_no_record_has(tmp_path):
    (tmp_path / "README.md").write_text("# Read me\n")
    text = (staged(tmp_path) / "index.md").read_text()
    for panel in PANELS:
        assert f"Not measured yet; `{panel.command}` makes it." in text
    assert "figure" not in text


def test_every_page_is_in_exactly_one_table_of_contents(session, tmp_path):
    folder = staged(tmp_path)
    listed: list[str] = []
    for path in folder.rglob("*.md"):
        for contents in re.findall(r"```\{toctree\}\n(.*?)```", path.read_text(), re.DOTALL):
            names = [line for line in contents.split("\n") if line and not line.startswith(":")]
            listed += [(path.parent / name).relative_to(folder).as_posix() for name in names]
    pages = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.md")]
    assert sorted([*listed, "index"]) == sorted(pages)


def test_a_document_without_a_title_gets_its_name(session, tmp_path):
    (session / "handover.md").write_text("What is left.\n")
    assert (staged(tmp_path) / f"logs/{session.name}/handover.md").read_text() == "# handover\n\nWhat is left.\n"


# --- worst images ------------------------------------------------------------------------------------------------


def test_the_start_page_shows_the_newest_worst_images_and_the_way_to_all_of_them(session: Path, tmp_path: Path) -> None:
    page = (staged(tmp_path) / "index.md").read_text()
    assert "Not measured yet; `agent-tools profile stages worst_images=8" in page
    findings, _ = profiled(tmp_path, evaluated(tmp_path))
    folder = staged(tmp_path)
    page = (folder / "index.md").read_text()
    (picture,) = findings.glob("*-worst/00.jpg")
    name = picture.relative_to(tmp_path).as_posix()
    assert f'<img src="{name}" alt="a.jpg"' in page
    assert (folder / "extra" / name).read_bytes() == picture.read_bytes()
    assert re.search(r"\[All of them, with their scores\]\(logs/.*-findings\.md\)", page)
