"""A repository inside of another one."""

from pathlib import Path

import pytest

from tests.agent_tools.conftest import Git


@pytest.fixture
def inner(repository: Path, git: Git) -> Path:
    """A repository with one commit, below `repository` and not yet known to it."""
    folder = repository / "inner"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "x").write_text("x\n")
    git(folder, "add", "x")
    git(folder, "commit", "-qm", "inner")
    return folder
