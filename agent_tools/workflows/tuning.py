"""Settings chosen for this machine, as a tool."""

from __future__ import annotations

import threading
from typing import Annotated

from pydantic import Field

from agent_tools.measure.trainer import Progress
from agent_tools.measure.tune import Tuned, judged_settings, tune
from agent_tools.workflows.documents import Docs, Measured, Session, check_session, measured
from agent_tools.workflows.profiling import AskedArms, asks_arms
from agent_tools.workspace.root import Root

Settings = Annotated[str, Field(description="with commas: workers, batch, ...; '' = all")]


@asks_arms
def bench_tune(
    root: Root,
    settings: Settings = "",
    *,
    arms: AskedArms,
    session: Session = "",
    docs: Docs = True,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Measured:
    """Find the settings that are faster on this machine with accuracy kept, confirm them, and write them as a preset.

    Use the preset with `preset=tuned_MACHINE`. Nothing is changed where nothing wins.
    """
    check_session(root, session)
    chosen = [name for name in settings.split(",") if name]
    tuned = tune(root.path, arms(), chosen, progress=progress, cancel=cancel, session=session or None)
    shown = measured(root, tuned.trial, docs)
    documents = [*shown.documents]
    if tuned.confirmation is not None:
        documents += measured(root, tuned.confirmation, docs).documents
    note = "\n".join([*_settings_lines(tuned), _said(tuned, root)])
    return shown.model_copy(update={"documents": list(dict.fromkeys(documents)), "note": note})


def _settings_lines(tuned: Tuned) -> list[str]:
    """What each setting gave, and why it does not win where it does not."""
    benchmark = tuned.trial.benchmark
    return [
        f"{setting.arm.name}: {setting.contrast.ratio:.3f}x [{setting.contrast.low:.3f}, {setting.contrast.high:.3f}], "
        + (setting.reason or "wins")
        for setting in (judged_settings(benchmark) if benchmark else [])
    ]


def _said(tuned: Tuned, root: Root) -> str:
    where = root.relative(tuned.preset)
    if tuned.chosen is None:
        return f"Nothing was faster beyond doubt with its accuracy kept: {where} changes nothing."
    confirmed = f" (confirmed in {tuned.confirmation.id})" if tuned.confirmation else ""
    return f"{tuned.chosen.arm.title} won{confirmed}: {where}; use it with preset={tuned.preset.stem}."
