"""Project overview, state, recent changes, modified files, benchmarks and TODOs under a budget of tokens.

Run by `collect_context.sh`. Standard library only: it has to work in a fresh clone, before anything is installed.
Everything is read and nothing is written. A cut says which command shows the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from agent_tools.handbook.blocks import Document, DocumentError, is_owned, parse_document, read_text, refuse_edits
from agent_tools.handbook.inputs import document_inputs, record_files

BUDGET = 6000
"""Tokens of the whole output."""
BYTES_PER_TOKEN = 3
"""A cautious estimate: English has about four, ids and paths fewer."""
SHARES = {
    "Project Overview": 0.20,
    "Current State": 0.34,
    "Recent Changes": 0.12,
    "Modified Files": 0.10,
    "Recent Benchmarks": 0.14,
    "TODOs": 0.10,
}
RECORD_FOLDERS = ("logs", "outputs", "outputs/demo")
DOCUMENTS = ("logs/*/*.md", "docs/ai_handbook/99_current_state.md", "docs/ai_handbook/02_dev_guide/judge.md")
DOCUMENTED = ("-benchmark-", "-comparison-", "-bisection-", "-history-", "-train-", "-evaluate-", "-profile-")
STATE_PAGE = ROOT / "docs/ai_handbook/99_current_state.md"
TIME_LIMIT_SECONDS = 20
LONGEST_LINE = 300
COMMITS_SHOWN = 15
BENCHMARKS_SHOWN = 8

Section = tuple[Iterable[str], str]
"""Lines, and the command that shows all of them."""


class Git:
    """Git commands that run beside each other: started at once, read when needed."""

    COMMANDS: ClassVar = {
        "files": ("ls-files",),
        "head": ("log", "-1", "--format=%h %s"),
        "branch": ("symbolic-ref", "--short", "-q", "HEAD"),
        "log": ("log", f"-{COMMITS_SHOWN + 1}", "--no-show-signature", "--format=%h %as %s"),
        "status": ("status", "--short", "--ignore-submodules=dirty"),
        "todo": ("grep", "-nIE", "(TODO|FIXME)[:(]", "--", ".", ":!logs", ":!*.lock"),
    }
    # a repository's own configuration must not start programs just because somebody reads it
    PROGRAM_SETTING = re.compile(r"filter\..*|diff\..*\.(command|textconv)|diff\.external|gpg\..*program", re.I | re.S)
    FIXED: ClassVar = {"core.fsmonitor": "", "core.hooksPath": os.devnull, "log.showSignature": "false"}

    def __init__(self) -> None:
        environment = self._environment(self._settings())
        self._running = {
            name: subprocess.Popen(
                ["git", "--no-pager", *command],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for name, command in self.COMMANDS.items()
        }

    def _settings(self) -> dict[str, str]:
        """The fixed settings, and every setting of the repository that names a program, as nothing."""
        listing = subprocess.run(
            ["git", "--no-pager", "config", "--list", "--includes", "-z"],
            cwd=ROOT,
            env=self._environment(self.FIXED),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        ).stdout.decode("utf-8", "surrogateescape")
        names = [entry.partition("\n")[0] for entry in listing.split("\0")]
        blanked = {name: "false" if name.endswith(".required") else "" for name in names if self._starts(name)}
        return {**self.FIXED, **blanked}

    def _starts(self, name: str) -> bool:
        return self.PROGRAM_SETTING.fullmatch(name) is not None

    @staticmethod
    def _environment(settings: Mapping[str, str]) -> dict[str, str]:
        """The caller's environment without git's variables: they could name another repository, or a program."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        # by variables, not with -c: there a '=' inside a filter's name would split the setting in the wrong place
        numbered = {"GIT_CONFIG_COUNT": str(len(settings))}
        for index, (name, value) in enumerate(settings.items()):
            numbered |= {f"GIT_CONFIG_KEY_{index}": name, f"GIT_CONFIG_VALUE_{index}": value}
        quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}
        closed = {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}
        return {**kept, **quiet, **closed, **numbered}

    def lines(self, name: str) -> list[str]:
        """Output lines of one of `COMMANDS`; none if it failed or ran past the limit."""
        process = self._running[name]
        try:
            output, _ = process.communicate(timeout=TIME_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return [f"(git {self.COMMANDS[name][0]} took longer than {TIME_LIMIT_SECONDS} s)"]
        return output.decode("utf-8", "replace").splitlines()


def main() -> None:
    """Print all sections."""
    parser = argparse.ArgumentParser(prog="scripts/collect_context.sh", description=__doc__)
    parser.add_argument("--budget", type=int, default=BUDGET, help=f"tokens of the whole output (default {BUDGET})")
    budget = parser.parse_args().budget
    if budget < 600:
        parser.error(f"argument --budget: {budget} is too small to say anything; give at least 600")
    git = Git()
    flags = list(stale_flags())
    sections: dict[str, Section] = {
        "Project Overview": (overview(git), "cat README.md; git ls-files"),
        "Current State": (state(git, flags), "cat docs/ai_handbook/99_current_state.md; agent-tools docs check"),
        "Recent Changes": (changes(git), "git log --oneline"),
        "Modified Files": (git.lines("status") or ["None."], "git status --short"),
        "Recent Benchmarks": (benchmarks(), "agent-tools record list --kind benchmark"),
        "TODOs": (git.lines("todo") or ["None."], "git grep -nE '(TODO|FIXME)[:(]'"),
    }
    text = heading(flags, budget)
    left = budget * BYTES_PER_TOKEN - size(text)
    for title, (lines, command) in sections.items():
        text += section(title, lines, command, int(left * SHARES[title]))
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))


def heading(flags: Sequence[str], budget: int) -> str:
    """The first line, which already says whether anything is stale."""
    stale = f"{len(flags)} STALE, see Current State" if flags else "nothing stale"
    return f"{ROOT.name}: documents: {stale}. Budget {budget} tokens, counted as {BYTES_PER_TOKEN} bytes each.\n"


def section(title: str, lines: Iterable[str], command: str, limit: int) -> str:
    """A section of at most `limit` bytes; what is cut is counted, and the command that shows it is named."""
    text = f"\n## {title}\n"
    entries = [clean(line) for line in lines]
    reserve = size(cut(len(entries), command))
    room = limit - size(text)
    for index, line in enumerate(entries):
        last = index == len(entries) - 1
        if size(line) + 1 > room - (0 if last else reserve):
            return text + cut(len(entries) - index, command)
        text += line + "\n"
        room -= size(line) + 1
    return text


def cut(count: int, command: str) -> str:
    """The line that stands for what was left out."""
    return f"... {count} more lines: `{command}`\n"


def clean(line: str) -> str:
    """One printable line: control and invisible characters shown as escapes, at most `LONGEST_LINE` characters."""
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line.rstrip())
    return shown if len(shown) <= LONGEST_LINE else shown[: LONGEST_LINE - 3] + "..."


def size(text: str) -> int:
    """Bytes of the text in UTF-8."""
    return len(text.encode("utf-8", "replace"))


# --- sections ----------------------------------------------------------------------------------------------------


def overview(git: Git) -> Iterator[str]:
    """The number of tracked files per top folder, and the README for as long as the budget lasts."""
    folders = Counter(name.split("/", 1)[0] + "/" for name in git.lines("files") if "/" in name)
    yield "Tracked files: " + (", ".join(f"{name} {count}" for name, count in sorted(folders.items())) or "none")
    readme = ROOT / "README.md"
    lines = readme.read_text("utf-8", "replace").splitlines() if readme.is_file() else ["There is no README.md."]
    yield from (line for line in lines if line.strip())


def state(git: Git, flags: Sequence[str]) -> Iterator[str]:
    """Stale flags, then branch and head, then the state page without its markers and link targets."""
    yield from flags
    branch = "".join(git.lines("branch")) or "no branch (detached HEAD or no repository)"
    yield f"Branch: {branch}; HEAD: {''.join(git.lines('head')) or 'no commit yet'}"
    if not STATE_PAGE.is_file():
        yield "There is no state page yet: `agent-tools docs render` writes docs/ai_handbook/99_current_state.md."
        return
    text = re.sub(r"<!--.*?-->", "", STATE_PAGE.read_text("utf-8", "replace"), flags=re.DOTALL)
    text = re.sub(r"\]\([^()\s]*\)", "]", text)
    # its headings go below the section's own
    yield from (f"##{line}" if line.startswith("#") else line for line in text.splitlines() if line.strip())


def changes(git: Git) -> list[str]:
    """The newest commits, and where the older ones are."""
    lines = git.lines("log") or ["No commit yet."]
    older = ["older ones: `git log --oneline`"] if len(lines) > COMMITS_SHOWN else []
    return lines[:COMMITS_SHOWN] + older


def stale_flags() -> Iterator[str]:
    """One line per document that its records no longer support, and per record that has no findings."""
    described: set[Path] = set()
    for path in sorted(path for pattern in DOCUMENTS for path in ROOT.glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        try:
            text = read_text(path)
            if is_owned(text):
                document = parse_document(text, name)
                described.add((path.parent / document.header.values.get("record", "")).resolve())
                refuse_edits(document, name)
                yield from (f"STALE: {name}: {why}" for why in outdated(document, path.parent))
        except (DocumentError, OSError) as error:
            yield f"STALE: {error}"
    for path in record_files(ROOT / "logs"):
        if any(kind in path.name for kind in DOCUMENTED) and path.resolve() not in described:
            yield f"STALE: {path.relative_to(ROOT).as_posix()} has no findings; run `agent-tools docs render`"


def outdated(document: Document, folder: Path) -> list[str]:
    """The blocks of a document whose inputs are not what they were."""
    try:
        current = set(document_inputs(document.header, folder).values())
    except DocumentError as error:
        return [str(error)]
    if not current:
        # made from the code itself, which only `agent-tools docs check` can read
        return []
    blocks = [block for block in document.blocks if block.kind == "generated"]
    old = [block.name for block in blocks if block.attributes.get("inputs") not in current]
    return [f"inputs of {', '.join(old)} changed; run `agent-tools docs render`"] if old else []


def benchmarks() -> Iterator[str]:
    """The newest ladders and comparisons, one line each."""
    paths = [path for folder in RECORD_FOLDERS for path in record_paths(ROOT / folder)]
    paths = [path for path in paths if "-benchmark-" in path.name or "-comparison-" in path.name]
    if not paths:
        yield "None yet: `agent-tools bench ladder --session NAME` makes the first."
    for path in sorted(paths, key=lambda path: path.name, reverse=True)[:BENCHMARKS_SHOWN]:
        name = path.relative_to(ROOT).as_posix()
        try:
            yield f"- {describe(json.loads(path.read_bytes()))} ({name})"
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            yield f"- UNREADABLE: {name} ({type(error).__name__}: {error})"
    if len(paths) > BENCHMARKS_SHOWN:
        yield f"{len(paths) - BENCHMARKS_SHOWN} older ones: `agent-tools record list --kind benchmark`"


def record_paths(folder: Path) -> list[Path]:
    """Records of all sessions in `logs`, or of one folder with a `records/` in it."""
    return record_files(folder) if folder.name == "logs" else record_files(folder / "records")


def describe(record: dict[str, Any]) -> str:
    """One line on a ladder: what, on what, before and after, and how far to trust it."""
    ladder = record.get("benchmark")
    if not ladder:
        return f"{record['ended'][:10]} {record.get('title') or record['kind']}"
    first, last = ladder["summaries"][0], ladder["summaries"][-1]
    dataset = record.get("dataset") or {"images": "?", "name": "unknown data"}
    rounds = ladder["protocol"]["rounds"]
    return (
        f"{record['ended'][:10]} {record.get('title') or ladder['name']}, "
        f"{dataset['images']} images of {dataset['name']}: "
        f"{first['arm']} -> {last['arm']}: warm epoch {first['warm_seconds']:.2f} s -> {last['warm_seconds']:.2f} s, "
        f"{last['ratio_to_first']:.2f}x ({last['ratio_low']:.2f} to {last['ratio_high']:.2f}), "
        f"hmean {first['icdar_hmean']:.3f} -> {last['icdar_hmean']:.3f} ({last['parity']}), "
        f"{rounds} rounds{' (descriptive)' if rounds < 6 else ''}"
    )


if __name__ == "__main__":
    main()
