"""Records, plans and kept notes in, documents out: the same files in give the same bytes out, on any machine.

All documents of a call are made before the first one is written: an error in one of them leaves every file as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agent_tools.handbook.blocks import parse_document, read_text
from agent_tools.handbook.changelog import draft_fragment, fragment_files
from agent_tools.handbook.drafts import Draft, inside, load_record, write_drafts
from agent_tools.handbook.findings_files import draft_folder
from agent_tools.handbook.handover_page import draft_handover
from agent_tools.handbook.pages import PAGES, STATE_PAGE, Facts, draft_page, draft_plot, page_of
from agent_tools.handbook.plans import PLANS_FOLDER
from agent_tools.handbook.session_files import HANDOVER_FILE


def draft_documents(
    root: Path,
    *,
    records_folder: Path | str,
    output_folder: Path | str,
    record_ids: Sequence[str] | None = None,
    state_page: Path | str | None = None,
    plans_folder: Path | str | None = None,
) -> list[Draft]:
    """Drafts of the findings of a folder of records and, if asked, of a state page from them.

    Args:
        root: the repository; every other path is relative to it or lies inside it.
        records_folder: holds `ID.json` files, or folders with `records/ID.json` files (as `logs/` does).
        output_folder: where findings and plots are written.
        record_ids: render the findings of these only; by default of every record that gets one.
        state_page: where to write the state page; by default none is written.
        plans_folder: the plan ledger of the state page; by default the handbook's.

    Returns:
        The documents and plots, findings first; `write_drafts` writes those that changed.

    Raises:
        DocumentError: a document that was edited by hand or is not owned, a record id that is not there, or a path
            outside the root.
        RecordError: a record that cannot be read.
    """
    root = root.resolve()
    records, output = inside(records_folder, root), inside(output_folder, root)
    drafts = draft_folder(records, output, root, record_ids)
    if state_page is not None:
        plans = inside(plans_folder or PLANS_FOLDER, root)
        sources = {"records": records, "plans": plans}
        drafts.append(draft_page(page_of("current_state"), root, inside(state_page, root), sources))
    return drafts


def draft_session(root: Path, session: Path | str) -> list[Draft]:
    """Drafts of the findings of one session folder (`logs/YYYY-MM-DD_NAME`). See `draft_documents`."""
    place = inside(session, root.resolve())
    return draft_documents(root, records_folder=place / "records", output_folder=place)


def render_session(root: Path, session: Path | str) -> list[Path]:
    """Render the findings of one session folder. See `draft_documents`."""
    return write_drafts(draft_session(root, session))


def render_state(root: Path) -> Path:
    """Render the committed state page from the records under `logs/` and the plan ledger. See `draft_documents`."""
    return write_drafts([draft_page(page_of("current_state"), root.resolve())])[0]


def draft_pages(root: Path) -> list[Draft]:
    """Drafts of the pages that every new record changes, as far as there is something to show on them."""
    root = root.resolve()
    return [draft_page(page, root) for page in PAGES if page.follows_records and page.wanted(root)]


def draft_demo(root: Path, folder: Path | str) -> list[Draft]:
    """Drafts of findings and state page of a folder that stands alone, such as `outputs/demo`."""
    place = inside(folder, root.resolve())
    return draft_documents(root, records_folder=place / "records", output_folder=place, state_page=place / STATE_PAGE)


def render_demo(root: Path, folder: Path | str) -> list[Path]:
    """Render findings and state page of a folder that stands alone. See `draft_documents`."""
    return write_drafts(draft_demo(root, folder))


def render_handover(root: Path, session: Path | str) -> Path:
    """Render the handover of one session folder and return its page. See `draft_documents`."""
    root = root.resolve()
    return write_drafts([draft_handover(inside(session, root), root)])[0]


def render_all(root: Path, facts: Facts | None = None) -> list[Path]:
    """Render every committed document: all findings and handovers under `logs/`, and every page with something to show.

    Args:
        root: the repository.
        facts: what pages about the tools are made from; without it they stay as they are.
    """
    return write_drafts(draft_all(root, facts))


def draft_all(root: Path, facts: Facts | None = None) -> list[Draft]:
    """Drafts of every committed document. See `render_all`."""
    root = root.resolve()
    sessions = sorted(folder for folder in (root / "logs").glob("*") if (folder / "records").is_dir())
    drafts = [draft for session in sessions for draft in draft_folder(session / "records", session, root)]
    handed = sorted(path.parent for path in (root / "logs").glob(f"*/{HANDOVER_FILE}"))
    drafts += [draft_handover(folder, root) for folder in handed]
    drafts += [draft_fragment(load_record(_record_of(path, root), root), root) for path in fragment_files(root)]
    shown = [page for page in PAGES if page.wanted(root) and page.can_be_made(facts)]
    pages = [(page, draft_page(page, root, facts=facts)) for page in shown]
    plots = [plot for page, draft in pages for plot in draft_plot(page, draft, root, facts)]
    return [*drafts, *(draft for _, draft in pages), *plots]


def _record_of(fragment: Path, root: Path) -> Path:
    header = parse_document(read_text(fragment), fragment.name).header
    return inside(fragment.parent / header.values.get("record", ""), root)
