"""Hold what the outside judges said against what is expected: `python scripts/judge_mcp.py EXPECTED.yaml RESULTS`.

RESULTS is the folder that `judge_mcp.sh` fills. EXPECTED lists groups of failures with the reason why each is right. A
failure that is not listed fails, and so does a listed one that did not happen.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

REVISIONS = ("2025-11-25", "2026-07-28")
GOOD = {"SUCCESS", "INFO", "SKIPPED"}

Verdicts = dict[str, bool]
"""`check`: whether it passed."""


def conformance(folder: Path) -> Verdicts:
    """Return `SCENARIO/CHECK` of every check in a folder of results; a warning is no pass."""
    found: Verdicts = {}
    for file in sorted(folder.glob("*/checks.json")):
        scenario = re.sub(r"-\d{4}-\d\d-\d\dT[^/]*$", "", file.parent.name).removeprefix("server-")
        for check in json.loads(file.read_text(encoding="utf-8")):
            name = f"{scenario}/{check['id']}"
            found[name] = found.get(name, True) and check["status"] in GOOD
    return found


def inspector(folder: Path) -> Verdicts:
    """Return whether the list was read without a complaint and the call answered."""
    listed, called = (_json(folder / f"inspector-{name}.json") for name in ("list", "call"))
    quiet = not (folder / "inspector-list.log").read_text(encoding="utf-8").strip()
    return {
        "tools/list": bool(listed.get("tools")),
        "tools/list --strict": quiet,
        "tools/call": called.get("isError") is False and bool(called.get("structuredContent")),
    }


def toolproof_inspect(folder: Path) -> Verdicts:
    """Return every kind of complaint about a definition as failed; `definitions` is that there are any to look at."""
    said = _json(folder / "toolproof-inspect.json")
    return {"definitions": bool(said.get("tools"))} | {check["check"]: False for check in said.get("checks", [])}


def toolproof_fuzz(folder: Path) -> Verdicts:
    """Return `TOOL` where nothing was found, `TOOL/KIND` where something was."""
    found: Verdicts = {}
    for tool in _json(folder / "toolproof-fuzz.json").get("fuzz", {}).get("tools", []):
        kinds = {f"{tool['tool']}/{finding['kind']}": False for finding in tool["findings"]}
        found |= kinds or {tool["tool"]: not tool.get("skipped")}
    return found


def _json(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def all_verdicts(results: Path) -> dict[str, Verdicts]:
    """Return what each judge said, by its name."""
    suites = {f"conformance {revision}": conformance(results / f"conformance-{revision}") for revision in REVISIONS}
    own = {"inspector": inspector, "toolproof inspect": toolproof_inspect, "toolproof fuzz": toolproof_fuzz}
    return suites | {name: read(results) for name, read in own.items()}


def problems(verdicts: Mapping[str, Verdicts], expected: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a line for each unexpected failure, each expected one that did not happen, and each silent judge."""
    listed = {(group["judge"], check) for group in expected for check in group["fails"]}
    failed = {(judge, check) for judge, checks in verdicts.items() for check, passed in checks.items() if not passed}
    silent = [
        f"{judge}: said nothing; its log is in the folder of results"
        for judge, checks in verdicts.items()
        if not checks
    ]
    surprises = [f"{judge}: {check} failed, and is not expected to" for judge, check in sorted(failed - listed)]
    stale = [f"{judge}: {check} should fail, and did not; take it out" for judge, check in sorted(listed - failed)]
    return silent + surprises + stale


def main(expected: Path, results: Path) -> int:
    """Print what each judge said; return 1 where anything is not as expected."""
    groups = yaml.safe_load(expected.read_text(encoding="utf-8"))
    verdicts = all_verdicts(results)
    for judge, checks in verdicts.items():
        print(f"{judge}: {sum(checks.values())} passed, {len(checks) - sum(checks.values())} failed")
    found = problems(verdicts, groups)
    print("\n".join(found) or "as expected")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
