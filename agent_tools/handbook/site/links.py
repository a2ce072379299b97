"""Links and pictures of a document as the web page has them.

A page stands in the site where its file stands in the repository, so relative links keep their way; what changes is
where they arrive. `records/ID.json#/BASE:FIGURE,FIGURE` leads to the record's page, with the same fragment: the page's
script marks the rows that it names. Code, fences and comments are quotations and stay as they are.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from html import escape
from urllib.parse import unquote

from agent_tools.records.errors import WorkbenchError

_PART = re.compile(
    r"""
      ^[ \t>]*(?P<ticks>`{3,}|~{3,})[^`\n]*\n.*?(?:^[ \t>]*(?P=ticks)|\Z)         # a fence
    | <!--.*?-->                                                                  # a comment
    | (?<![\\`])(?P<run>`+)(?!`)(?:(?!\n[ \t]*\n).)+?(?<!`)(?P=run)(?!`)          # a code span
    | (?P<alone>^(?=!\[))?                                                        # a picture with its line to itself
      (?<!\\)(?P<picture>!?)\[(?P<label>(?:[^\[\]\\]|\\.)*)\]\((?P<target>[^()\s]+)\)(?(alone)(?=[ \t]*$))
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


class SiteError(WorkbenchError):
    """A page that cannot be made or shown; names the file and what to do."""


@dataclass(frozen=True)
class Places:
    """Where a link may lead. All paths are relative to the repository, with forward slashes.

    Attributes:
        pages: Markdown files that are pages of the site.
        records: record files; each has a page of its own.
        pictures: picture files, each with the record that it was drawn from ('' for none).
        exists: whether the repository has a file or folder that the site does not show.
    """

    pages: frozenset[str]
    records: frozenset[str]
    pictures: Mapping[str, str]
    exists: Callable[[str], bool]


def with_web_links(text: str, page: str, places: Places) -> str:
    """Rewrite the links and pictures of a Markdown text that stands at `page`.

    Raises:
        SiteError: a link leads nowhere.
    """
    return _PART.sub(partial(_replaced, page=page, places=places), text)


def _replaced(match: re.Match[str], page: str, places: Places) -> str:
    target = match["target"]
    if target is None or target.startswith("#") or _SCHEME.match(target):
        return match[0]
    path, _, fragment = target.partition("#")
    place = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(path)))
    if match["picture"]:
        if place not in places.pictures:
            raise SiteError(f"{page} shows {target}, which is no picture of the handbook or a session; mend the link.")
        return _picture(match, place, page, places)
    if place in places.records or (place in places.pages and fragment.startswith("/")):
        address = _page_of(path) + (f"#{fragment}" if fragment else "")
        return f'<a class="source" href="{escape(address)}">{match["label"]}</a>'
    if place in places.pages:
        return match[0]
    if place in places.pictures:
        return f'<a href="{escape(path)}">{match["label"]}</a>'
    if place.startswith(("..", "/")) or not places.exists(place):
        raise SiteError(f"{page} links {target}, which is not there; mend the link.")
    return _outside(match["label"], place)


def _page_of(path: str) -> str:
    """Address of the page of a record or a Markdown file."""
    return posixpath.splitext(path)[0] + ".html"


def _outside(label: str, place: str) -> str:
    """A file of the repository that the site does not show: its name, for a page has no way to it."""
    return label if place in label else f"{label} (`{place}`)"


def _picture(match: re.Match[str], place: str, page: str, places: Places) -> str:
    source, alt = escape(match["target"]), escape(re.sub(r"\\(.)", r"\1", match["label"]), quote=True)
    image = f'<img src="{source}" alt="{" ".join(alt.split())}" loading="lazy">'
    if match["alone"] is None:
        return image
    record = places.pictures[place]
    way = posixpath.relpath(_page_of(record), posixpath.dirname(page) or ".") if record else ""
    return plot_figure(image, source, escape(way), posixpath.basename(_page_of(record)).removesuffix(".html"))


def plot_figure(image: str, source: str, record_page: str, record_id: str) -> str:
    """HTML of a plot, as wide as the page and scrolled sideways where that is narrow.

    Args:
        image: the `<img>` element.
        source: address of the picture alone.
        record_page: address of the page of the record that it was drawn from; '' for none.
        record_id: of that record.
    """
    of_record = f'Record <a href="{record_page}">{record_id}</a>. ' if record_page else ""
    caption = f'<figcaption>{of_record}<a href="{source}">The picture alone</a></figcaption>'
    return f'<figure class="plot"><div class="sideways">{image}</div>{caption}</figure>\n'
