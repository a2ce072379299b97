"""Untrusted text: nothing invisible stays invisible, no secret is passed on."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.workspace.untrusted import invisible_in, mask_secrets, secret_places, show_invisible, shown, shown_name


@pytest.mark.parametrize(
    ("hidden", "visible"),
    [
        ("a\u202eb", "a<U+202E>b"),
        ("a\u200bb", "a<U+200B>b"),
        ("\U000e0041", "<U+E0041>"),
        ("\ufe0f", "<U+FE0F>"),
        ("\u3164", "<U+3164>"),
        ("\u00a0", "<U+00A0>"),
        ("\x1b[2J", "<U+001B>[2J"),
        ("\ufeff", "<U+FEFF>"),
        ("\u2028", "<U+2028>"),
    ],
)
def test_invisible_characters_are_written_out(hidden, visible):
    assert show_invisible(hidden) == visible


@pytest.mark.parametrize("text", ["plain", "tab\tand\nnewline", "Grüße, 한국어, 日本語, Ω", "emoji 🎉"])
def test_visible_text_stays_as_it_is(text):
    assert show_invisible(text) == text


@given(st.text())
def test_no_format_or_control_character_survives(text):
    for character in show_invisible(text):
        assert character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


@given(st.binary())
def test_any_bytes_can_be_shown(data):
    shown(data).encode("utf-8")


@pytest.mark.parametrize(
    "secret",
    [
        "AKIA" + "A" * 16,
        "ghp_" + "a" * 36,
        "github_pat_" + "a" * 30,
        "sk-" + "a" * 40,
        "hf_" + "a" * 34,
        "glpat-" + "a" * 20,
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
        "eyJ" + "a" * 20 + "." + "b" * 20 + "." + "c" * 20,
    ],
)
def test_credentials_are_masked(secret):
    masked = mask_secrets(f"before {secret} after")
    assert secret not in masked
    assert "<secret masked>" in masked
    assert masked.startswith("before")
    assert masked.endswith("after")


def test_a_password_in_an_address_is_masked_and_the_rest_stays():
    assert mask_secrets("https://user:hunter2@host/x") == "https://user:<secret masked>@host/x"


def test_hashes_and_code_are_not_secrets():
    text = "commit 3fa9c1e2b4d5f60718293a4b5c6d7e8f90123456\npassword = read()\n"
    assert mask_secrets(text) == text


def test_what_is_invisible_in_an_exact_text_is_named_once_and_a_line_end_is_not():
    assert invisible_in("a\u202eb\u202e\r\nc\td\rx") == ["U+202E", "U+000D"]
    assert invisible_in("plain\r\n") == []


def test_a_secret_in_an_exact_text_is_found_by_its_place():
    assert secret_places("key = sk-" + "a" * 30) == [6]
    assert secret_places("nothing") == []


def test_a_name_stays_on_one_line_and_its_odd_bytes_are_seen():
    assert shown_name("a\nb\tc\udcff") == "a<U+000A>b<U+0009>c\\xff"
