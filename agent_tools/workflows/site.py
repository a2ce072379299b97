"""The handbook as a web page: built once, or served while it is written."""

from __future__ import annotations

import threading
from typing import Annotated

from pydantic import Field

from agent_tools.handbook.site.build import HOST, SITE, build_site, serve_site
from agent_tools.results import ToolResult
from agent_tools.workspace.root import Root


class SiteBuilt(ToolResult):
    """A web page of the handbook."""

    page: str = Field(description="the start page, relative to the root")
    pages: int
    records: int

    def summary(self) -> str:
        """Say where it is."""
        return f"{self.page}: {self.pages} pages, {self.records} of them records; opens in a browser without a server"


async def docs_build(root: Root) -> SiteBuilt:
    """Build the handbook, the sessions and their records as web pages in outputs/handbook/.

    Every number leads to the rows of its record. Nothing on the pages comes from a network.
    """
    staged = await build_site(root.path)
    return SiteBuilt(page=f"{SITE}/index.html", pages=staged.pages, records=staged.records)


class SiteServed(ToolResult):
    """The server has ended."""

    address: str

    def summary(self) -> str:
        """Say what has ended."""
        return f"{self.address} is no longer served"


def docs_serve(
    root: Root,
    *,
    port: Annotated[int, Field(ge=1, le=65535, description="on this machine only")] = 8000,
    cancel: threading.Event | None = None,
) -> SiteServed:
    """Serve the web page of the handbook on this machine until stopped (Ctrl-C).

    A change in docs/ or logs/ builds it again, and open pages reload themselves.
    """
    serve_site(root.path, port, cancel)
    return SiteServed(address=f"http://{HOST}:{port}")
