"""Fixtures every test may use."""

import os
import secrets
from pathlib import Path

import pytest
from hypothesis import settings

# Machines that run tests are shared and slow at times: a property is about values, never about time. CI must judge the
# same change the same way twice, so it draws the same examples; local runs go on searching.
settings.register_profile("default", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("default")

SHARED_RECEIPTS = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def locks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("locks")


@pytest.fixture(autouse=True)
def machine_lock(locks: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock of the test's own: tests neither wait for what measures on this machine nor hold it up."""
    path = locks / secrets.token_hex(8)
    monkeypatch.setenv("AGENT_TOOLS_MACHINE_LOCK", str(path))
    monkeypatch.delenv("AGENT_TOOLS_MEASURING", raising=False)
    monkeypatch.delenv("AGENT_TOOLS_JOBS", raising=False)
    return path


@pytest.fixture(scope="session")
def shared_receipts() -> Path:
    """The folder of 404 real receipts beside the checkout; tests that need it are skipped where it is absent."""
    folder = SHARED_RECEIPTS / "sroie"
    if not folder.is_dir():
        pytest.skip("no shared data")
    return folder


@pytest.fixture(scope="session")
def metric_cases() -> Path:
    """32 cases with the counts of two independent metric references, beside the real receipts."""
    file = SHARED_RECEIPTS / "metric_cases.json"
    if not file.is_file():
        pytest.skip("no shared data")
    return file


@pytest.fixture(scope="session")
def synthetic_receipts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small rendered data set: 6 training, 5 validation and 1 test receipt."""
    from ocr.datasets.synthetic import render_dataset

    return render_dataset(tmp_path_factory.mktemp("data") / "receipts", seed=3, train=6, val=5, test=1)
