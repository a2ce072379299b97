"""The rooms of the house: what is counted, how they are laid out, and that the picture is the same each time."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent_tools.handbook import rooms
from agent_tools.handbook.plots.rooms import direct, draw_rooms, lay_out, levels
from agent_tools.handbook.rooms import read_rooms

REPOSITORY = Path(__file__).resolve().parents[3]

NAMES = ["ocr.a", "ocr.b", "ocr.c", "ocr.d", "agent_tools.e", "agent_tools.f"]
ACYCLIC = st.fixed_dictionaries(
    {
        name: st.lists(st.sampled_from(NAMES[:place]), unique=True) if place else st.just([])
        for place, name in enumerate(NAMES)
    }
)
ANY = st.fixed_dictionaries({name: st.lists(st.sampled_from(NAMES), unique=True) for name in NAMES})


def reached(start: str, imports: dict[str, list[str]]) -> set[str]:
    found: set[str] = set()
    for other in imports[start]:
        found |= {other} | reached(other, imports)
    return found


@given(ACYCLIC)
def test_every_arrow_of_a_house_without_a_circle_points_down(imports):
    row_of = levels(imports)
    assert all(row_of[room] > row_of[other] for room, imported in imports.items() for other in imported)


@given(ACYCLIC)
def test_the_main_arrows_lead_to_the_same_rooms_as_all_of_them_and_none_of_them_could_be_left_out(imports):
    main = direct(imports)
    assert all(reached(room, main) == reached(room, imports) for room in imports)
    for room, others in main.items():
        for other in others:
            fewer = {**main, room: [one for one in others if one != other]}
            assert other not in reached(room, fewer)


@given(ANY)
def test_even_a_house_with_circles_is_laid_out_with_every_room_in_a_place_of_its_own(imports):
    places = lay_out(imports)
    assert set(places) == set(imports)
    assert len(set(places.values())) == len(places)
    assert all(0 < place.x < 1 for place in places.values())


def test_a_room_names_every_other_room_that_one_of_its_modules_imports(tmp_path, monkeypatch):
    monkeypatch.setattr(rooms, "STEPS", ())
    files = {
        "ocr/__init__.py": "",
        "ocr/low/__init__.py": '"""Low."""\n',
        "ocr/low/x.py": "",
        "ocr/low/deep/__init__.py": "",
        "ocr/low/deep/y.py": "import ocr.low.x\n",
        "ocr/high/__init__.py": "from ocr import top\n",
        "ocr/high/z.py": "from ocr.low import x, missing\nfrom ocr.low.x import A\nimport ocr.low.deep.y, torch\n",
        "ocr/top.py": '"""On top."""\ndef f():\n    from ocr.high.z import B\n',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert read_rooms(tmp_path)["rooms"] == [
        {"name": "ocr.high", "says": "", "imports": ["ocr.low", "ocr.top"]},
        {"name": "ocr.low", "says": "Low.", "imports": []},
        {"name": "ocr.top", "says": "On top.", "imports": ["ocr.high"]},
    ]


def test_the_rooms_of_this_house_say_what_is_in_them_and_import_downwards():
    facts = read_rooms(REPOSITORY)
    imports = {room["name"]: list(room["imports"]) for room in facts["rooms"]}
    assert [room["name"] for room in facts["rooms"] if not room["says"]] == []
    row_of = levels(imports)
    assert all(row_of[room] > row_of[other] for room, imported in imports.items() for other in imported)
    assert {"ocr.datasets", "agent_tools.records", "runners.train"} <= set(imports)
    assert all(file["says"] for step in facts["steps"] for file in step["files"])


def test_the_picture_drawn_anew_has_the_same_bytes_and_another_house_another_picture():
    facts = {"rooms": [{"name": name, "imports": []} for name in NAMES]}
    svg = draw_rooms(facts)
    assert draw_rooms(facts) == svg
    facts["rooms"][1]["imports"] = {"ocr.a": 2}
    assert draw_rooms(facts) != svg
