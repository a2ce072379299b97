"""The built page in a headless Chromium: it opens from the disk, asks nobody for anything, and every number arrives."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from agent_tools.handbook.blocks import is_owned, parse_document
from agent_tools.handbook.figures import Shown, evaluate, read_line
from agent_tools.handbook.plans import read_header
from tests.agent_tools.browser import DESK, PHONE, Browser, chromium, require_chromium
from tests.agent_tools.handbook import factory

pytestmark = pytest.mark.web

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "outputs", "__pycache__", ".*_cache", "*.egg-info", ".hypothesis")
LEFT_OUT_ABOVE = shutil.ignore_patterns("data")
"""At the top of the repository alone: the configuration has a folder of that name."""

LOOK = """
const boxes = [document.documentElement, document.body, document.querySelector(".content")];
return {
  links: [...document.querySelectorAll("a[href]")].map((link) => link.href),
  ids: [...document.querySelectorAll("[id]")].map((element) => element.id),
  sources: [...document.querySelectorAll("a.source")].map((link) => link.href),
  width: Math.max(...boxes.map((box) => box.scrollWidth)),
  title: document.title,
};
"""
NAMED = """
const [fragment, done] = arguments;
const text = (row) => [row.id, row.className, row.querySelector("td").textContent];
addEventListener("hashchange", () => {
  const rows = [...document.querySelectorAll("tr.named")];
  const all = [...document.querySelectorAll("tr[id]")];
  const below = rows.flatMap((row) => all.filter((other) => other.id.startsWith(row.id + "/")));
  done({
    named: rows.map(text),
    below: below.map(text),
    seen: rows.every((row) => row.checkVisibility()),
    inView: rows.map((row) => row.getBoundingClientRect().top).some((top) => top >= 0 && top < innerHeight),
  });
}, { once: true });
location.hash = fragment;
"""


@dataclass(frozen=True)
class Page:
    """What a page holds, by its address."""

    links: list[str]
    ids: frozenset[str]
    sources: list[str]
    width: int
    title: str
    complaints: list[str]
    requests: list[str]


def agent_tools(root: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "agent_tools.cli", "--root", str(root), *words]


def left_out(folder: str, names: list[str]) -> set[str]:
    """What a copy of the repository does without."""
    return LEFT_OUT(folder, names) | (LEFT_OUT_ABOVE(folder, names) if Path(folder) == ROOT else set())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository as it is now, built: the committed records and documents, not small ones made for a test."""
    require_chromium()
    folder = tmp_path_factory.mktemp("web") / "project"
    shutil.copytree(ROOT, folder, ignore=left_out)
    command = agent_tools(folder, "docs", "build", "--json")
    built = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert (folder / json.loads(built.stdout.splitlines()[-1])["page"]).is_file()
    return folder


@pytest.fixture(scope="module")
def site(project: Path) -> Path:
    return project / "outputs/handbook"


@pytest.fixture(scope="module")
def browser(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as window:
        yield window


@pytest.fixture(scope="module")
def pages(site: Path, browser: Browser) -> dict[str, Page]:
    """Every page of the site, opened once on a phone."""
    browser.resize(PHONE)
    found = {}
    for path in sorted(site.rglob("*.html")):
        browser.open(path.as_uri())
        seen = browser.run(LOOK)
        found[path.as_uri()] = Page(
            **{**seen, "ids": frozenset(seen["ids"])}, complaints=browser.complaints(), requests=browser.requests()
        )
    return found


def test_every_page_opens_from_the_disk_without_a_complaint_and_asks_for_nothing_else(pages, site):
    assert len(pages) > 80
    assert {address: page.complaints for address, page in pages.items() if page.complaints} == {}
    assert all(page.title for page in pages.values())
    asked = {request for page in pages.values() for request in page.requests}
    assert [request for request in asked if not request.startswith((site.as_uri(), "data:"))] == []
    assert set(pages) <= {request.partition("#")[0] for request in asked}


def test_every_link_within_the_site_arrives_at_a_file_and_at_its_id(pages):
    broken = []
    for address, page in pages.items():
        for link in {link for link in page.links if link.startswith("file:")}:
            target, _, fragment = link.partition("#")
            path = Path(unquote(urlsplit(target).path))
            there = path.is_file() and (not fragment or ":" in fragment or has_id(pages[target], fragment))
            if not there:
                broken.append((address, link))
    assert broken == []


def has_id(page: Page, fragment: str) -> bool:
    return fragment in page.ids or unquote(fragment) in page.ids


def test_no_page_is_wider_than_a_phone(pages):
    assert {address: page.width for address, page in pages.items() if page.width > PHONE[0]} == {}


# --- numbers -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """Numbers of one line, the link behind them, and the line's values for `@K`."""

    document: str
    target: str
    shown: list[Shown]
    figures: tuple[str, ...]
    line: list[float]


def claims_of(document: Path, project: Path) -> list[Claim]:
    """The linked numbers of a document, in the order in which they stand; those of notes without their figures."""
    blocks = parse_document(document.read_text(), document.name).blocks
    lines = [(line, block.kind == "generated") for block in blocks for line in block.body.split("\n")]
    claims = [(claim, checked) for line, checked in lines for claim in claims_of_line(line, document, project)]
    return [claim if checked else replace(claim, shown=[], figures=()) for claim, checked in claims]


def claims_of_line(line: str, document: Path, project: Path) -> Iterator[Claim]:
    targets = iter(re.findall(r"\]\(([^()\s]*\.(?:json|md)#/[^()\s]*:[^()\s]*)\)", line))
    shown: list[Shown] = []
    values: list[float] = []
    for part in read_line(line):
        if isinstance(part, Shown):
            shown.append(part)
        elif part.figures:
            data = data_of(document.parent / part.file)
            before = list(values)
            for figure in part.figures:
                values.append(evaluate(figure, data, values))
            yield Claim(str(document.relative_to(project)), next(targets), shown, part.figures, before)
            shown = []


def data_of(path: Path) -> Any:
    return json.loads(path.read_bytes()) if path.suffix == ".json" else read_header(path)


def test_every_number_leads_to_rows_that_hold_it(project, site, pages, browser):
    browser.resize(DESK)
    documents = [path for place in ("docs", "logs") for path in (project / place).rglob("*.md")]
    by_page: dict[str, dict[str, list[Claim]]] = defaultdict(lambda: defaultdict(list))
    for document in (path for path in documents if is_owned(path.read_text())):
        claims = claims_of(document, project)
        page = pages[(site / document.relative_to(project)).with_suffix(".html").as_uri()]
        links = [link for link in page.sources if "#/" in link]
        assert [unquote(link.partition("#")[2]) for link in links] == [
            unquote(claim.target.partition("#")[2]) for claim in claims
        ], document
        for link, claim in zip(links, claims, strict=True):
            address, _, fragment = link.partition("#")
            by_page[address][fragment].append(claim)
    for address, fragments in by_page.items():
        browser.open(address)
        for fragment, claims in fragments.items():
            check_rows(browser.wait(NAMED, f"#{fragment}"), claims)
    assert sum(len(claims) for fragments in by_page.values() for claims in fragments.values()) > 200


def check_rows(found: dict[str, Any], claims: list[Claim]) -> None:
    """The marked rows alone are enough to calculate every number that links them."""
    assert found["seen"], claims
    assert found["inView"], claims
    data = rebuilt(found["named"] + found["below"])
    for claim in claims:
        line = list(claim.line)
        for one, figure in zip(claim.shown, claim.figures, strict=True):
            value = evaluate(figure, data, line)
            line.append(value)
            assert one.agrees(value), claim


def rebuilt(rows: list[list[str]]) -> dict[str, Any]:
    """The part of a record that some rows of its page show."""
    data: dict[str, Any] = {}
    for place, kind, text in rows:
        node = data
        steps = [unquote(step) for step in place.split("/")[1:]]
        for step in steps[:-1]:
            node = node.setdefault(step, {})
        if kind.startswith("value"):
            node[steps[-1]] = number_or_text(text)
        else:
            node.setdefault(steps[-1], {})
    return data


def number_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


# --- plots -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_every_plot_is_drawn(site, pages, browser, tmp_path, size):
    browser.resize(size)
    drawn = 0
    for address in pages:
        if not pages_with_plots(Path(unquote(urlsplit(address).path))):
            continue
        browser.open(address)
        for number in range(browser.run("return document.querySelectorAll('figure.plot img').length")):
            picture = browser.picture_of("figure.plot", number, tmp_path / f"{drawn}.png")
            assert is_drawn(picture), (address, number)
            drawn += 1
    assert drawn > 20


def pages_with_plots(page: Path) -> bool:
    return '<figure class="plot">' in page.read_text()


def is_drawn(picture: Path) -> bool:
    pixels = np.asarray(Image.open(picture).convert("L"))
    return pixels.size > 50_000 and pixels.std() > 8 and len(np.unique(pixels)) > 20


# --- what a reader does ------------------------------------------------------------------------------------------


def test_the_search_finds_a_page_without_a_server(site, browser):
    browser.open((site / "search.html").as_uri() + "?q=ladder")
    found = browser.wait(
        "const done = arguments[0]; const look = () => {"
        "const links = [...document.querySelectorAll('#search-results li a')].map((a) => a.href);"
        "links.length ? done(links) : setTimeout(look, 50); }; look();"
    )
    assert any("main-d15864-findings" in link or "performance" in link for link in found)
    assert browser.complaints() == []


def test_a_change_of_a_document_reaches_an_open_page_by_itself(tmp_path, browser):
    project = tmp_path / "project"
    factory.project(project)
    (project / "README.md").write_text("# Read me\n")
    browser.requests()
    port = free_port()
    command = agent_tools(project, "docs", "serve", "--port", str(port), "--json")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            page = f"http://127.0.0.1:{port}/docs/ai_handbook/note.html"
            (project / "docs/ai_handbook/note.md").write_text("# Before\n")
            open_when_served(browser, page, "Before", server)
            (project / "docs/ai_handbook/note.md").write_text("# After the change\n")
            until(lambda: browser.run("return document.title").startswith("After the change"))
            requests = [request for request in browser.requests() if not request.startswith("data:")]
            assert [request for request in requests if urlsplit(request).netloc != f"127.0.0.1:{port}"] == []
        finally:
            server.send_signal(signal.SIGINT)
            output, _ = server.communicate(timeout=30)
    assert server.returncode == 0
    assert json.loads(output.splitlines()[-1]) == {"address": f"http://127.0.0.1:{port}"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def open_when_served(browser: Browser, page: str, title: str, server: subprocess.Popen[str]) -> None:
    def served() -> bool:
        assert server.poll() is None, "the server ended"
        try:
            socket.create_connection(("127.0.0.1", urlsplit(page).port or 0), timeout=1).close()
        except OSError:
            return False
        browser.open(page)
        return str(browser.run("return document.title")).startswith(title)

    until(served)


def until(holds: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.3)
