"""Environments by what a tree pins: shared where equal, built once where not. Real pip, from wheels made here."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from agent_tools.measure.environments import RequirementsError, interpreter_for, requirements_hash

PROJECT = '[project]\nname = "demo"\nversion = "1"\ndependencies = ["tiny"]\n'


def wheel(folder: Path, version: str) -> None:
    """A wheel of the package `tiny` that holds nothing but its version."""
    folder.mkdir(exist_ok=True)
    info = f"tiny-{version}.dist-info"
    with zipfile.ZipFile(folder / f"tiny-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr("tiny/__init__.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only packages that pip can find: two versions of `tiny`."""
    for version in ("1.0", "2.0"):
        wheel(tmp_path / "wheels", version)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    return tmp_path / "wheels"


def tree(folder: Path, pins: str, project: str = PROJECT) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_text(project)
    (folder / "constraints.txt").write_text(pins)
    return folder


def version(python: str) -> str:
    done = subprocess.run(
        [python, "-c", "import tiny; print(tiny.VERSION)"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_trees_that_pin_the_same_share_this_program_s_interpreter(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", "tiny==1.0\n")
    side = tree(tmp_path / "side", "# a comment\n\ntiny==1.0  # why\n")
    assert requirements_hash(root) == requirements_hash(side)
    assert interpreter_for(side, root, print) == sys.executable


def test_a_tree_that_pins_something_else_gets_an_environment_of_its_own_that_is_kept(
    tmp_path: Path, wheels: Path
) -> None:
    root = tree(tmp_path / "root", "tiny==1.0\n")
    side = tree(tmp_path / "side", "tiny==2.0\n")
    said: list[str] = []
    python = interpreter_for(side, root, said.append)
    assert Path(python).is_relative_to(root / "outputs" / "environments")
    assert version(python) == "2.0"
    assert len(said) == 1
    assert interpreter_for(side, root, said.append) == python
    assert len(said) == 1


def test_a_build_that_was_cut_short_is_begun_again(tmp_path: Path, wheels: Path) -> None:
    root, side = tree(tmp_path / "root", "tiny==1.0\n"), tree(tmp_path / "side", "tiny==2.0\n")
    half_built = root / "outputs" / "environments" / requirements_hash(side) / "bin"
    half_built.mkdir(parents=True)
    (half_built / "python").write_text("nothing")
    assert version(interpreter_for(side, root, print)) == "2.0"


def test_pins_that_do_not_exist_are_refused_with_what_pip_says(tmp_path: Path, wheels: Path) -> None:
    root, side = tree(tmp_path / "root", "tiny==1.0\n"), tree(tmp_path / "side", "tiny==9.9\n")
    with pytest.raises(RequirementsError, match=r"cannot be installed: ERROR:.*tiny"):
        interpreter_for(side, root, print)


def test_a_project_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequirementsError, match=r"pyproject.toml of this side cannot be read"):
        requirements_hash(tree(tmp_path / "side", "", project="[project\n"))


@pytest.mark.parametrize("name", ["constraints.txt", "requirements.txt", "pyproject.toml"])
def test_every_file_that_pins_counts(tmp_path: Path, name: str) -> None:
    side = tree(tmp_path / "side", "tiny==1.0\n")
    before = requirements_hash(side)
    changed = PROJECT.replace("tiny", "huge") if name == "pyproject.toml" else "huge==1\n"
    (side / name).write_text(changed)
    assert requirements_hash(side) != before
