"""Sphinx at work on the staged project: once into `outputs/handbook/`, or again after every change, behind a server.

Sphinx runs as a process of its own: it changes the process that it runs in, and only the extra `docs` installs it.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path

from agent_tools.handbook.site.links import SiteError
from agent_tools.handbook.site.sources import WATCHED
from agent_tools.handbook.site.staging import Staged, stage
from agent_tools.jobs.processes import CALL_VARIABLE, end_all, marked, run_bounded

SITE = "outputs/handbook"
HOST = "127.0.0.1"
BUILDERS = ("sphinx", "myst_parser", "furo")
SERVERS = (*BUILDERS, "sphinx_autobuild")
SPHINX_SECONDS = 900
OUTPUT_CAP = 4 << 20
SITE_MARK = "objects.inv"
"""Sphinx writes it into every site, so a folder without it is somebody else's."""


async def build_site(root: Path) -> Staged:
    """Build the site into `outputs/handbook/`, in place of an older one; any warning of Sphinx is an error.

    Raises:
        SiteError: the extra `docs` is not installed, a link leads nowhere, Sphinx warns, or the folder is not a site's.
        WorkbenchError: a document or a record that cannot be read.
    """
    _require(BUILDERS)
    site = root / SITE
    if site.exists() and not (site / SITE_MARK).is_file():
        raise SiteError(f"{SITE} is there and is no built page; move it away, then build again.")
    site.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".handbook-", dir=site.parent) as folder:
        source, new = Path(folder) / "source", Path(folder) / "new"
        staged = stage(root, source)
        await _run_sphinx(source, new, Path(folder) / "doctrees")
        if site.exists():
            site.rename(Path(folder) / "old")
        new.rename(site)
    return staged


def _require(modules: tuple[str, ...]) -> None:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise SiteError(f"{missing[0]}, which makes the page, is not installed: pip install 'ocr-workbench[docs]'.")


async def _run_sphinx(source: Path, site: Path, doctrees: Path) -> None:
    arguments = ["-b", "html", "-W", "--keep-going", "-q", "-N", "-d", str(doctrees), str(source), str(site)]
    finished = await run_bounded(
        [sys.executable, "-m", "sphinx", *arguments],
        folder=source,
        environment=_environment(),
        seconds=SPHINX_SECONDS,
        output_cap=OUTPUT_CAP,
    )
    if finished.exit_code != 0 or finished.timed_out:
        said = (finished.errors or finished.output).decode(errors="replace").replace(f"{source.resolve()}/", "")
        lines = [line.strip() for line in said.splitlines() if "WARNING" in line or "ERROR" in line] or [said.strip()]
        more = f" ({len(lines) - 1} more)" if len(lines) > 1 else ""
        raise SiteError(f"Sphinx refuses the page: {lines[0][-400:]}{more}; mend the document, then build again.")


def _environment() -> dict[str, str]:
    """Of Sphinx: the same pages whatever the caller's hash seed."""
    return {**os.environ, "PYTHONHASHSEED": "0"}


def serve_site(root: Path, port: int, cancel: threading.Event | None) -> None:
    """Serve the site on this machine, building it again after every change, until `cancel` is set.

    Raises:
        SiteError: the extra `docs` is not installed, the port is taken, or the server ended by itself.
    """
    _require(SERVERS)
    _require_free(port)
    token, stop = secrets.token_hex(8), cancel or threading.Event()
    with tempfile.TemporaryDirectory(prefix="agent-tools-handbook-") as folder:
        source = Path(folder) / "source"
        source.mkdir()
        process = subprocess.Popen(
            _serving(root, source, Path(folder), port),
            cwd=root,
            env={**_environment(), CALL_VARIABLE: token},
            stdin=subprocess.DEVNULL,
            stdout=2,  # what it says is progress; the last line of our own output may be JSON
            start_new_session=True,
        )
        try:
            while process.poll() is None and not stop.wait(0.2):
                pass
            ended = process.poll()
        finally:
            end_all(partial(marked, CALL_VARIABLE, token))
            process.wait()
    if ended is not None:
        raise SiteError(f"the server ended by itself with exit code {ended}; its last words stand above.")


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise SiteError(f"port {port} cannot be used ({error.strerror}); choose another with --port.") from error


def _serving(root: Path, source: Path, folder: Path, port: int) -> list[str]:
    staging = [sys.executable, "-m", "agent_tools.handbook.site.staging", str(root), str(source)]
    watched = [f"--watch={root / name}" for name in WATCHED if (root / name).is_dir()]
    sphinx = ["-b", "html", "-q", "-N", "-d", str(folder / "doctrees"), str(source), str(folder / "site")]
    own = [f"--host={HOST}", f"--port={port}", f"--pre-build={shlex.join(staging)}", f"--ignore={source}", *watched]
    return [sys.executable, "-m", "sphinx_autobuild", *own, *sphinx]
