"""What a build would bring from elsewhere is seen before it starts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.workspace.containers.dockerfile_fetches import fetched


@pytest.mark.parametrize(
    ("dockerfile", "images", "sources"),
    [
        ("FROM a:1\nRUN x", ["a:1"], []),
        ("from --platform=linux/arm64 a:1 as b\nFROM b\nCOPY --from=b /x /y", ["a:1"], []),
        ("FROM scratch\nCOPY --from=c:2 /x /y\nCOPY --from=0 /x /y", ["c:2"], []),
        ("ARG A=a:1\nARG B\nFROM $A\nFROM ${B:-b:1}\nFROM ${B}", ["a:1", "b:1", "given:1"], []),
        ("FROM a\nADD http://x/y /y", ["a"], ["http://x/y"]),
        ("FROM a\nADD --chown=1:1 b https://x/y git@host:r /y", ["a"], ["https://x/y", "git@host:r"]),
        ('FROM a\nADD ["http://x/y", "/y"]', ["a"], ["http://x/y"]),
        ("FROM a\nADD \\\n  http://x/y \\\n /y", ["a"], ["http://x/y"]),
        ("# escape=`\nFROM a\nADD `\n http://x/y /y", ["a"], ["http://x/y"]),
        ("FROM a\nADD \\\n# a comment in between\n http://x/y /y", ["a"], ["http://x/y"]),
        ("FROM a\nONBUILD ADD http://x/y /y", ["a"], ["http://x/y"]),
        ("ARG U=local\nFROM a\nADD $U /y", ["a"], ["$U"]),
        ("FROM a\nADD local /http://", ["a"], []),
        ("# FROM x\n\n  FROM a", ["a"], []),
        ("", [], []),
    ],
)
def test_images_and_remote_sources_are_found_however_they_are_written(dockerfile, images, sources):
    given = {"B": "given:1"} if "${B}" in dockerfile else {}
    expected = ["given:1" if image == "b:1" and given else image for image in images]
    assert fetched(dockerfile, given) == (expected, sources)


@given(st.text(alphabet="FROMADCOPYn \\\n`#$:{}[]\"'=-a", max_size=200))
def test_any_text_is_read(text):
    fetched(text, {})
