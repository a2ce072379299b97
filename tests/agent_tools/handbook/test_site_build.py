"""Sphinx's part: the same pages anywhere, nothing built over a warning or over somebody's folder."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import anyio
import pytest

from agent_tools.handbook import render
from agent_tools.handbook.site import build
from agent_tools.handbook.site.build import SITE, build_site, serve_site
from agent_tools.handbook.site.links import SiteError
from tests.agent_tools.handbook import factory


def project(root: Path) -> Path:
    factory.project(root)
    render.render_all(root)
    (root / "README.md").write_text("# Read me\n\nplain --arm=a and 100% {role}`text` $x$ %\n\n% no comment\n")
    return root


def site_of(root: Path) -> dict[str, bytes]:
    anyio.run(build_site, root)
    site = root / SITE
    return {path.relative_to(site).as_posix(): path.read_bytes() for path in site.rglob("*") if path.is_file()}


def test_the_same_repository_gives_the_same_pages_anywhere(tmp_path):
    first = site_of(project(tmp_path / "a"))
    assert site_of(project(tmp_path / "deep/b")) == first
    assert list((tmp_path / "a/outputs").iterdir()) == [tmp_path / "a" / SITE]
    readme = first["README.html"].decode()
    assert "100% {role}" in readme, "what only MyST reads as syntax is text, as on GitHub"
    assert "% no comment" in readme
    assert "plain --arm=a" in readme


def test_a_page_that_is_gone_is_gone_from_the_site_too(tmp_path):
    root = project(tmp_path)
    (root / "CHANGELOG.md").write_text("# Changelog\n")
    assert "CHANGELOG.html" in site_of(root)
    (root / "CHANGELOG.md").unlink()
    assert "CHANGELOG.html" not in site_of(root)


def test_a_warning_of_sphinx_names_the_page_and_leaves_the_site_as_it_was(tmp_path):
    root = project(tmp_path)
    before = site_of(root)
    (root / "README.md").write_text("# Read me\n\n[no such heading](README.md#nowhere)\n")
    with pytest.raises(SiteError, match=r"Sphinx refuses the page: README\.md:3: WARNING: .*nowhere"):
        anyio.run(build_site, root)
    assert (root / SITE / "README.html").read_bytes() == before["README.html"]
    assert list((root / "outputs").iterdir()) == [root / SITE]


def test_a_folder_that_is_no_site_is_not_replaced(tmp_path):
    kept = tmp_path / SITE / "mine.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine\n")
    with pytest.raises(SiteError, match="outputs/handbook is there and is no built page"):
        anyio.run(build_site, tmp_path)
    assert kept.read_text() == "mine\n"


def test_without_the_extra_one_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "BUILDERS", ("no_such_builder",))
    with pytest.raises(SiteError, match=r"^no_such_builder, .* not installed: pip install 'ocr-workbench\[docs\]'\.$"):
        anyio.run(build_site, tmp_path)


def test_a_port_that_is_taken_is_refused_before_anything_is_built(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SiteError, match=r"port \d+ cannot be used .*--port"):
            serve_site(tmp_path, taken.getsockname()[1], threading.Event())
