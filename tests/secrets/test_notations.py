"""Redaction finds any secret in the notations that SECURITY.md promises, and changes nothing else."""

from __future__ import annotations

import base64
import html
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_cm.api.redaction import Sealed, redact, redact_data

if TYPE_CHECKING:
    from collections.abc import Callable

# Tokens are ASCII; an App Secret and a proxy's password can hold any character that can be sent.
TOKENS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=16, max_size=60)
SECRETS = TOKENS | st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=16, max_size=40)
PATIENT = settings(deadline=None)  # other work on the machine is no failure
AROUND = st.text(max_size=15)  # too short to hold one


def _unicode_escaped(text: str) -> str:
    """Write every character as JSON may: by its UTF-16 code units."""
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))


def _percent(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))


NOTATIONS: dict[str, Callable[[str], str]] = {
    "URL": lambda text: quote(text, safe="", errors="surrogatepass"),
    "URL, slashes": lambda text: quote(text, errors="surrogatepass"),
    "URL, all of it": _percent,
    "form": lambda text: quote_plus(text, errors="surrogatepass"),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, not ASCII": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON, slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON, all of it": _unicode_escaped,
    "JSON, pluses and slashes": lambda text: json.dumps(text)[1:-1].replace("+", "\\u002B").replace("/", "\\u002f"),
    "Python": lambda text: repr(text)[1:-1],
    "Python, bytes": lambda text: repr(text.encode("utf-8", "surrogatepass"))[2:-1],
    "HTML": html.escape,
    "HTML, decimal": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "HTML, hexadecimal": lambda text: "".join(f"&#x{ord(char):X};" for char in text),
    "Latin-1": lambda text: text.encode("utf-8", "surrogatepass").decode("latin-1"),
}


@pytest.mark.parametrize("notation", NOTATIONS)
@given(secret=SECRETS, around=AROUND)
@PATIENT
@example(secret='a%41"&lt;b\\u0061\\x41\\\\n+ /=', around="%")
def test_a_secret_is_found_in_every_notation(notation: str, secret: str, around: str) -> None:
    written = NOTATIONS[notation](secret)
    text = f"{around}|{written}|{around}"
    masked = f"{around}|***|{around}"
    assert redact(text, [secret]) == masked
    assert redact_data({"a": [{"b": text}], text: 1}, [secret]) == {"a": [{"b": masked}], masked: 1}


@given(secret=TOKENS, first=st.sampled_from(sorted(NOTATIONS)), second=st.sampled_from(sorted(NOTATIONS)))
@settings(deadline=None, max_examples=400)
def test_a_secret_is_found_in_one_notation_within_another(secret: str, first: str, second: str) -> None:
    written = NOTATIONS[second](NOTATIONS[first](secret))
    assert redact(f"<{written}>", [secret]) == "<***>"


@given(secret=SECRETS, before=st.text(max_size=9), after=st.text(max_size=9), for_urls=st.booleans())
@PATIENT
def test_a_secret_is_found_in_base64_at_any_offset(secret: str, before: str, after: str, for_urls: bool) -> None:
    encode = base64.urlsafe_b64encode if for_urls else base64.b64encode
    data = [each.encode("utf-8", "surrogatepass") for each in (before, secret, after)]
    shown = redact(encode(b"".join(data)).decode(), [secret])
    assert "***" in shown
    # What is left stands for the neighbours, and for no more than one byte of the secret at each end.
    left = sum(map(len, shown.split("***")))
    assert left <= -(-4 * (len(data[0]) + len(data[2]) + 4) // 3) + 4


@given(secret=TOKENS, escaped=st.lists(st.booleans(), min_size=60, max_size=60))
@PATIENT
def test_it_does_not_matter_which_characters_are_escaped(secret: str, escaped: list[bool]) -> None:
    pairs = list(zip(secret, escaped, strict=False))
    # In JSON a quotation mark and a backslash have to be; of a URL the percent sign.
    in_json = "".join(f"\\u{ord(char):04X}" if yes or char in '"\\' else char for char, yes in pairs)
    in_url = "".join(f"%{ord(char):02X}" if yes or char == "%" else char for char, yes in pairs)
    in_html = "".join(f"&#{ord(char)};" if yes or char == "&" else char for char, yes in pairs)
    for written in (in_json, in_url, in_html):
        assert redact(f"[{written}]", [secret]) == "[***]"
    assert redact_data(json.loads(f'{{"title": "{in_json}", "{in_json}": [1]}}'), [secret]) == {
        "title": "***",
        "***": [1],
    }


@given(secrets=st.lists(TOKENS, min_size=1, max_size=3, unique=True), order=st.permutations(sorted(NOTATIONS)))
@PATIENT
def test_notations_and_secrets_in_one_text_do_not_hide_each_other(secrets: list[str], order: list[str]) -> None:
    written = [NOTATIONS[name](secret) for name in order for secret in secrets]
    shown = redact(" | ".join(written), secrets)
    for each in written:
        assert each not in shown


@given(text=st.text(max_size=200), secret=TOKENS)
@PATIENT
def test_what_holds_no_secret_stays_as_it_is(text: str, secret: str) -> None:
    kept = redact(text, [secret])
    assert kept == text or "***" in kept
    value: Any = {"a": [text, 1, None, {"b": text}], text: True}
    assert redact_data(value, [secret]) is value


def test_a_form_that_is_echoed_is_masked() -> None:
    secret = "aS4'p(é)/ +R=t&%7E<!k>"
    form = urlencode({"client_id": "app", "client_secret": secret, "scope": "x"})
    assert redact(form, [secret]) == "client_id=app&client_secret=***&scope=x"


def test_json_that_is_nested_more_deeply_than_python_calls_is_masked() -> None:
    value: Any = "the-secret-0123456789"
    for _ in range(20_000):
        value = [value]
    found = redact_data(value, ["the-secret-0123456789"])
    while isinstance(found, list):
        (found,) = found
    assert found == "***"


def test_a_sealed_text_shows_itself_to_no_traceback() -> None:
    sealed = Sealed("the-secret")
    assert sealed == "the-secret"
    assert repr([sealed, {"a": sealed}, (sealed,)]) == "['***', {'a': '***'}, ('***',)]"
    with pytest.raises(TypeError) as info:
        len(sealed, sealed)  # type: ignore[call-arg]
    assert "the-secret" not in str(info.value)


def test_a_large_listing_takes_no_time_to_speak_of() -> None:
    source = {"id": "18ba5ce699f8da1f", "title": "A title & more, 100% \\", "description": "é" * 100, "owner": "acme"}
    value = {"sources": [dict(source) for _ in range(20_000)]}
    began = time.process_time()
    assert redact_data(value, ["eyJhbGciOi" * 90, "another-secret-of-forty-characters-in-all"]) is value
    assert time.process_time() - began < 1
