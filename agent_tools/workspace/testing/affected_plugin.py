"""A plugin of pytest, loaded by `test_run` beside testmon: it adds the tests whose imports changed.

It runs inside of the tested project, so it imports nothing but the standard library, pytest and its neighbour.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agent_tools.workspace.testing.import_digests import DIGESTS_VARIABLE, ImportDigests

CAME_TO_ITS_END = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)


def pytest_configure(config: pytest.Config) -> None:
    """Take part where `test_run` names the file of digests."""
    if path := os.environ.get(DIGESTS_VARIABLE):
        config.pluginmanager.register(_ChangedImports(config, Path(path)), "agent-tools-changed-imports")


class _ChangedImports:
    def __init__(self, config: pytest.Config, path: Path) -> None:
        self.path = path
        self.known = _read(path)
        self.root = config.rootpath
        self.digests = ImportDigests(self.root)
        self.now: dict[str, str] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> None:
        """Before testmon leaves out whole files: take back those whose imports changed."""
        select = session.config.pluginmanager.get_plugin("TestmonSelect")
        if select is None:
            return
        unchanged = {file for file in {_file(test) for test in select.deselected_tests} if self._is_unchanged(file)}
        select.deselected_tests = [test for test in select.deselected_tests if _file(test) in unchanged]
        select.deselected_files = [file for file in select.deselected_files if file in unchanged]

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Remember the digests of the files whose tests all ran."""
        option = session.config.option
        is_part = option.keyword or any("::" in argument for argument in session.config.args)
        if is_part or exitstatus not in CAME_TO_ITS_END:
            return
        ran = {_file(item.nodeid) for item in getattr(session, "items", ())}
        if digests := {file: self._digest(file) for file in sorted(ran)}:
            _write(self.path, _read(self.path) | digests)

    def _is_unchanged(self, file: str) -> bool:
        return self.known.get(file) == self._digest(file)

    def _digest(self, file: str) -> str:
        if file not in self.now:
            self.now[file] = self.digests.digest(self.root / file)
        return self.now[file]


def _file(test: str) -> str:
    return test.partition("::")[0]


def _read(path: Path) -> dict[str, str]:
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(path: Path, digests: dict[str, str]) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(json.dumps(digests, indent=1))
    new.replace(path)
