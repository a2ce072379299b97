"""Programs that a repository could name, and a user whom git knows."""

from pathlib import Path

import pytest


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture
def payload(tmp_path: Path, marker: Path) -> str:
    """A program that leaves a marker, and works as a filter so that git has no reason to stop."""
    script = tmp_path / "payload.sh"
    script.write_text(f"#!/bin/sh\necho \"$0 $@\" >> '{marker}'\n[ -t 0 ] || cat\nexit 0\n")
    script.chmod(0o755)
    return str(script)
