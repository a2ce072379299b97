"""`ocr cache prepare | status | verify | clear` as real processes: they say what is there, and mend what is not."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ocr.datasets.schemas import ConfigError
from ocr.inference import fill_caches
from ocr.utils.cache_manager import inspect_cache, tier_files

ROOT = Path(__file__).resolve().parents[2]
TIERS = ["images", "images", "maps", "tensors"]  # of the training split: images alone
pytestmark = pytest.mark.slow


def start(*arguments: object, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
    command = [*prefix, sys.executable, "-m", "ocr.cli", "cache", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(*arguments: object, prefix: Sequence[str] = ()) -> tuple[int, str, str]:
    process = start(*arguments, prefix=prefix)
    out, error = process.communicate(timeout=900)
    return process.returncode, out, error


def prepare(root: Path, cache: Path) -> list[str]:
    return ["prepare", f"dataset_base_path={root}/", f"cache_dir={cache}", "image_size=[128,64]", "model=tiny"]


def states(cache: Path) -> list[tuple[str, bool, list[int], str | None]]:
    return [(tier.tier, tier.sealed, tier.damaged, tier.problem) for tier in inspect_cache(cache, "verify")]


def contents(cache: Path) -> dict[str, tuple[int, str]]:
    return {
        path.name: (path.stat().st_ino, hashlib.sha256(path.read_bytes()).hexdigest()) for path in tier_files(cache)
    }


@pytest.fixture(scope="module")
def prepared(synthetic_receipts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("prepared") / "cache"
    code, out, error = run(*prepare(synthetic_receipts, cache))
    assert (code, out) == (0, "11 samples visited\n"), error
    return cache


@pytest.fixture
def cache(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "cache")
    return tmp_path / "cache"


def test_prepare_seals_every_tier_that_the_configuration_asks_for(prepared: Path) -> None:
    assert states(prepared) == [(tier, True, [], None) for tier in TIERS]


def test_preparing_again_leaves_every_file_as_it_is(synthetic_receipts: Path, cache: Path) -> None:
    before = contents(cache)
    code, out, error = run(*prepare(synthetic_receipts, cache))
    assert (code, out) == (0, "11 samples visited\n")
    assert "Preloaded 5/5 images into RAM (100.0%)" in error
    assert contents(cache) == before


def test_status_prints_one_json_object_with_a_row_per_file(cache: Path) -> None:
    code, out, _ = run("status", "--cache-dir", cache, "--json")
    told = json.loads(out.splitlines()[-1])
    assert code == 0
    assert [(row["tier"], row["sealed"], row["full"]) for row in told["tiers"]] == [
        (tier.tier, True, tier.slots) for tier in inspect_cache(cache, "status")
    ]


def test_status_of_a_folder_that_is_not_there_says_so_and_makes_none(tmp_path: Path) -> None:
    assert run("status", "--cache-dir", tmp_path / "nowhere")[:2] == (0, f"0 tier files in {tmp_path / 'nowhere'}\n")
    assert not (tmp_path / "nowhere").exists()


def test_verify_names_the_damaged_slot_with_exit_code_1_and_prepare_mends_it(
    synthetic_receipts: Path, cache: Path
) -> None:
    before = {path.name: path.read_bytes() for path in tier_files(cache)}
    for path in tier_files(cache):
        path.chmod(0o644)
        with path.open("r+b") as stream:
            stream.seek(-3000, os.SEEK_END)
            stream.write(b"damage")
        path.chmod(0o444)
    code, out, _ = run("verify", "--cache-dir", cache)
    assert code == 1
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == list(before)
    assert all("damaged slots [" in line for line in lines[:-1])
    assert run(*prepare(synthetic_receipts, cache))[0] == 0
    assert {path.name: path.read_bytes() for path in tier_files(cache)} == before


def test_clear_removes_the_tier_files_and_says_how_much(cache: Path) -> None:
    (cache / "notes.txt").write_text("mine")
    size = sum(path.stat().st_size for path in tier_files(cache))
    code, out, _ = run("clear", "--cache-dir", cache)
    assert (code, out) == (0, f"4 files, {size / 2**20:.1f} MiB removed from {cache}\n")
    assert tier_files(cache) == []
    assert (cache / "notes.txt").read_text() == "mine"


def test_clear_of_a_read_only_folder_is_one_sentence_and_exit_code_2(cache: Path) -> None:
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    mount = f'mount --bind {cache} {cache}; mount -o remount,bind,ro {cache}; exec "$@"'
    code, _, error = run("clear", "--cache-dir", cache, prefix=["unshare", "-m", "sh", "-e", "-c", mount, "sh"])
    assert code == 2
    (line,) = error.splitlines()
    assert line.startswith("error: the cache file ")
    assert "cannot be deleted: Read-only file system" in line
    assert len(tier_files(cache)) == 4


def test_a_prepare_that_is_killed_is_completed_by_the_next_one(synthetic_receipts: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    process = start(*prepare(synthetic_receipts, cache))
    while not any(tier.full for tier in inspect_cache(cache, "status")):
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert run(*prepare(synthetic_receipts, cache))[0] == 0
    assert states(cache) == [(tier, True, [], None) for tier in TIERS]


def test_prepare_fails_where_a_tier_cannot_be_had_and_says_why(synthetic_receipts: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not all is cached: .*tensors tier: cache over budget"):
        fill_caches(
            [
                f"dataset_base_path={synthetic_receipts}/",
                f"cache_dir={tmp_path}",
                "cache_budget_gib=0.00001",
                "image_size=[160,96]",
            ]
        )
