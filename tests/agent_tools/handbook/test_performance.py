"""The page about performance shows the records that are about the trainer."""

from pathlib import Path

from agent_tools.handbook.performance import performance_values
from agent_tools.handbook.state import RecordEntry, record_source
from tests.agent_tools.handbook import factory


def whatif(record_id: str, name: str) -> RecordEntry:
    record = factory.ladder(record_id, name=name)
    assert record.benchmark is not None
    record = record.model_copy(update={"benchmark": record.benchmark.model_copy(update={"design": "whatif"})})
    place = Path("logs/try")
    source = record_source(record.id, record.model_dump(mode="json"), place / "records" / f"{record.id}.json", place)
    return RecordEntry(record, source)


def test_a_later_what_if_on_planted_stages_is_not_taken_for_the_trainers_own() -> None:
    entries = [
        whatif("20261121T200000Z-whatif-000001", "whatif"),
        whatif("20261122T200000Z-whatif-000002", "planted_post"),
    ]
    assert performance_values(entries, {})["whatif"].record.id == "20261121T200000Z-whatif-000001"
