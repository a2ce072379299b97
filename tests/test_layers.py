"""The house rules that a tool can check."""

from importlinter.cli import lint_imports


def test_every_import_goes_one_way() -> None:
    assert lint_imports(no_cache=True) == 0
