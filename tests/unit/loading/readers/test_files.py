"""Readers of JSON Lines, CSV, Parquet and emails: what they give, and what they say of what they cannot read."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import io
import json
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_cm.loading.readers import ReadError, UnreadableRow, csv, format_of, jsonl, parquet, read_rows

SECRET = "somebody's text"


def read(data: bytes, name: str, file_format: str, **options: str) -> list[dict[str, Any] | UnreadableRow]:
    file = io.BytesIO(data)
    rows = list(read_rows(file, name, file_format, **options))
    assert not file.closed
    return rows


def reasons(rows: list[dict[str, Any] | UnreadableRow]) -> list[str]:
    found = [row.reason for row in rows if isinstance(row, UnreadableRow)]
    assert not any(SECRET in each for each in found)
    return found


def error_of(data: bytes, name: str, file_format: str, **options: str) -> str:
    with pytest.raises(ReadError) as caught:
        read(data, name, file_format, **options)
    assert SECRET not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jsonl", "jsonl"),
        ("a.NDJSON.gz", "jsonl"),
        ("x/y.csv", "csv"),
        ("a.csv.gz", "csv"),
        ("a.parquet", "parquet"),
        ("A.EML", "eml"),
        ("a.json", None),
        ("csv", None),
        ("a.gz", None),
    ],
)
def test_a_name_tells_the_format(name: str, expected: str | None) -> None:
    assert format_of(name) == expected


def test_json_lines() -> None:
    data = b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"b": "\xc3\xa9", "c": [null, 1.5]}'
    assert read(data, "f.jsonl", "jsonl") == [{"a": 1}, {"b": "é", "c": [None, 1.5]}]
    assert read(b"", "f.jsonl", "jsonl") == []


def test_a_line_that_is_no_object_is_one_row_and_names_its_line() -> None:
    lines = [
        b'{"a": "somebody\'s text"}',
        b'{"a": "somebody\'s text',
        b"",
        b'["somebody\'s text"]',
        b'"somebody\'s text"',
        b"12",
        b"1.5",
        b"true",
        b"null",
        b'{"a": "\xff somebody\'s text"}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 200_000,
        b'{"a": 2}',
    ]
    rows = read(b"\n".join(lines), "f.jsonl", "jsonl")
    assert [row for row in rows if isinstance(row, dict)] == [{"a": SECRET}, {"a": 2}]
    assert reasons(rows) == [
        "f.jsonl, line 2, column 7: not JSON (Unterminated string starting at); write one JSON object a line",
        "f.jsonl, line 4: it is a JSON array; write one JSON object a line",
        "f.jsonl, line 5: it is a JSON string; write one JSON object a line",
        "f.jsonl, line 6: it is a JSON number; write one JSON object a line",
        "f.jsonl, line 7: it is a JSON number; write one JSON object a line",
        "f.jsonl, line 8: it is a JSON boolean; write one JSON object a line",
        "f.jsonl, line 9: it is a JSON null; write one JSON object a line",
        "f.jsonl, line 10: byte 8 is not UTF-8; convert the file to UTF-8",
        "f.jsonl, line 11: a number in it is too long, or it is nested too deeply; write one JSON object a line",
        "f.jsonl, line 12: a number in it is too long, or it is nested too deeply; write one JSON object a line",
    ]


def test_what_is_not_json_lines_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "starts with a JSON array" in error_of(b' [{"a": 1}]', "f.jsonl", "jsonl")
    assert "UTF-16" in error_of('{"a": 1}'.encode("utf-16"), "f.jsonl", "jsonl")
    monkeypatch.setattr(jsonl, "LONGEST_LINE", 100)
    data = b'{"a": 1}\n{"a": "' + b"x" * 100 + b'"}'
    assert "f.jsonl, line 2: it is longer than 100 bytes" in error_of(data, "f.jsonl", "jsonl")


def test_a_number_that_is_none_stays_for_the_mapping_to_leave_out() -> None:
    (row,) = read(b'{"a": NaN}', "f.jsonl", "jsonl")
    assert isinstance(row, dict)
    assert row["a"] != row["a"]


def test_csv() -> None:
    data = b'\xef\xbb\xbfid,text,from\r\n1,"a ""b"", c\nd",\r\n\r\n2,\xc3\xa9,x@example.org\n'
    expected = [{"id": "1", "text": 'a "b", c\nd', "from": None}, {"id": "2", "text": "é", "from": "x@example.org"}]
    assert read(data, "f.csv", "csv") == expected
    assert read(b"id;text\n1;a,b\n", "f.csv", "csv", delimiter=";") == [{"id": "1", "text": "a,b"}]
    assert read("id,text\n1,é\n".encode("cp1252"), "f.csv", "csv", encoding="cp1252") == [{"id": "1", "text": "é"}]
    assert read("id,text\n1,é\n".encode("utf-16"), "f.csv", "csv", encoding="utf-16") == [{"id": "1", "text": "é"}]
    assert read(b"id\n", "f.csv", "csv") == []


def test_a_csv_row_of_another_length_is_one_row_and_names_its_line() -> None:
    data = b'id,text\n1,"a\nb"\n2,somebody\'s text,x\n3\n4,d\n'
    rows = read(data, "f.csv", "csv")
    assert [row["id"] for row in rows if isinstance(row, dict)] == ["1", "4"]
    remedy = "; put a field that holds a delimiter or a line break in quotes"
    assert reasons(rows) == [
        f"f.csv, line 4: it has 3 fields, but the header has 2{remedy}",
        f"f.csv, line 5: it has 1 fields, but the header has 2{remedy}",
    ]


def test_what_is_not_csv_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "the first line of a CSV file must name the columns" in error_of(b"", "f.csv", "csv")
    assert "column 2 has no name" in error_of(b"id,,x\n", "f.csv", "csv")
    assert "two columns have the name 'id'" in error_of(b"id,a,id\n", "f.csv", "csv")
    latin = b"id,text\n" + b"1,a\n" * 10_000 + b"2,\xe9 somebody's text\n"
    assert "the bytes are not utf-8; give encoding=, such as 'cp1252'" in error_of(latin, "f.csv", "csv")
    unclosed = error_of(b"id,text\n1,a\n2,\"somebody's text\n3,c\n", "f.csv", "csv")
    assert "not CSV (unexpected end of data); is a quote not closed" in unclosed
    assert "not CSV" in error_of(b'id,text\n1,"a"somebody\'s text\n', "f.csv", "csv")
    monkeypatch.setattr(csv, "LONGEST_FIELD", 200_000)
    long = b'id,text\n1,"' + b"x" * (2 * 1024 * 1024) + b'"\n'
    assert "field larger than field limit" in error_of(long, "f.csv", "csv")


def test_a_text_that_is_too_long_for_a_message_can_still_be_read_from_csv() -> None:
    (row,) = read(b"id,text\n1," + b"x" * 200_000 + b"\n", "f.csv", "csv")
    assert isinstance(row, dict)
    assert len(row["text"]) == 200_000


@pytest.mark.parametrize("file_format", ["jsonl", "csv"])
def test_gzip_goes_by_the_name(file_format: str) -> None:
    plain = b'{"id": "1"}\n' if file_format == "jsonl" else b"id\n1\n"
    packed = gzip.compress(plain)
    assert read(packed, f"f.{file_format}.gz", file_format) == [{"id": "1"}]
    assert "its name does not end in .gz" in error_of(packed, f"f.{file_format}", file_format)
    assert "it is not a gzip file" in error_of(plain, f"f.{file_format}.gz", file_format)
    assert "damaged or ends too early" in error_of(packed[:-4], f"f.{file_format}.gz", file_format)


def test_gzip_in_several_members_is_read_to_its_end() -> None:
    packed = gzip.compress(b'{"a": 1}\n') + gzip.compress(b'{"a": 2}\n')
    assert read(packed, "f.jsonl.gz", "jsonl") == [{"a": 1}, {"a": 2}]
    assert "damaged" in error_of(packed + b"rubbish", "f.jsonl.gz", "jsonl")


_CELLS = st.one_of(st.none(), st.integers(-(2**62), 2**62), st.text(), st.booleans())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(st.text(), _CELLS)), st.booleans())
def test_json_lines_are_read_as_they_were_written(rows: list[dict[str, Any]], pack: bool) -> None:
    data = b"".join(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n" for row in rows)
    data, name = (gzip.compress(data), "f.jsonl.gz") if pack else (data, "f.jsonl")
    assert read(data, name, "jsonl") == rows


_FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(_FIELDS, _FIELDS)), st.sampled_from(",;\t|"))
def test_csv_is_read_as_it_was_written(rows: list[tuple[str, str]], delimiter: str) -> None:
    from csv import writer

    text = io.StringIO(newline="")
    writer(text, delimiter=delimiter).writerows([("a", "b"), *rows])
    expected = [{"a": a or None, "b": b or None} for a, b in rows]
    assert read(text.getvalue().encode(), "f.csv", "csv", delimiter=delimiter) == expected


def parquet_file(columns: dict[str, list[Any]], **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, **options)
    return file.getvalue()


def test_parquet_gives_values_of_their_types() -> None:
    columns: dict[str, list[Any]] = {
        "id": [1, 2],
        "text": ["a", None],
        "at": [dt.datetime(2026, 1, 5, 9, 12, tzinfo=dt.UTC), None],
        "amount": [Decimal("1.50"), None],
        "to": [["a@example.org"], []],
    }
    rows = read(parquet_file(columns), "f.parquet", "parquet")
    assert rows == [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def test_parquet_is_read_in_all_its_row_groups() -> None:
    data = parquet_file({"id": list(range(2_500))}, row_group_size=700)
    assert read(data, "f.parquet", "parquet") == [{"id": each} for each in range(2_500)]


def test_what_is_not_parquet_is_an_error() -> None:
    good = parquet_file({"text": [SECRET] * 10_000}, compression="none", use_dictionary=False)
    assert "it cannot be read as Parquet" in error_of(b"id,text\n1,somebody's text\n", "f.parquet", "parquet")
    assert "it cannot be read as Parquet" in error_of(good[:-100], "f.parquet", "parquet")
    assert "it cannot be read as Parquet" in error_of(b"", "f.parquet", "parquet")
    assert "not read from gzip" in error_of(gzip.compress(good), "f.parquet.gz", "parquet")
    twice = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), twice)
    assert "two columns have the name 'a'" in error_of(twice.getvalue(), "f.parquet", "parquet")


def test_parquet_without_pyarrow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=r"airflow-provider-cm\[parquet\]"):
        next(parquet.read_parquet(io.BytesIO(), "f.parquet"))


EMAIL = b"""Message-ID: <1@example.org>\r
From: =?utf-8?q?Ann_=C3=89?= <ann@example.org>\r
To: bob@example.org\r
Subject: Refund\r
Date: Mon, 05 Jan 2026 09:12:00 +0000\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary=m\r
\r
--m\r
Content-Type: multipart/alternative; boundary=a\r
\r
--a\r
Content-Type: text/plain; charset=iso-8859-1\r
Content-Transfer-Encoding: quoted-printable\r
\r
Where is it, Andr=E9?\r
--a\r
Content-Type: text/html; charset=utf-8\r
\r
<p>Where is it?</p>\r
--a--\r
--m\r
Content-Type: application/pdf\r
Content-Disposition: attachment; filename=bill.pdf\r
Content-Transfer-Encoding: base64\r
\r
AAECAw==\r
--m--\r
"""


def test_an_email_becomes_a_document() -> None:
    (row,) = read(EMAIL, "f.eml", "eml")
    assert isinstance(row, dict)
    raw = row["raw_email"]
    assert list(row) == ["raw_email"]
    assert raw["headers"]["raw"].startswith("Message-ID: <1@example.org>\nFrom: =?utf-8?q?Ann_=C3=89?= <ann")
    assert raw["headers"]["raw"].endswith("boundary=m")
    assert raw["body"] == {"plain": "Where is it, André?", "html": "<p>Where is it?</p>"}
    assert raw["attachments"] == [{"name": "bill.pdf", "size": 4, "content_type": "application/pdf"}]
    assert read(gzip.compress(EMAIL), "f.eml.gz", "eml") == [row]


def test_emails_of_odd_kinds_are_read() -> None:
    (html,) = read(b"Message-ID: <2@x>\nContent-Type: text/html\n\n<p>a</p>", "f.eml", "eml")
    assert isinstance(html, dict)
    assert html["raw_email"]["body"] == {"html": "<p>a</p>"}
    (odd,) = read(
        b"Message-ID: <3@x>\nSubject: \xe9\nContent-Type: text/plain; charset=nobody\n\n\xff a", "f.eml", "eml"
    )
    assert isinstance(odd, dict)
    assert odd["raw_email"]["body"] == {"plain": "\ufffd a"}
    assert "\ufffd" in odd["raw_email"]["headers"]["raw"]
    (bare,) = read(b"Message-ID: <4@x>\n\n", "f.eml", "eml")
    assert isinstance(bare, dict)
    assert bare["raw_email"]["body"] == {"plain": ""}


def test_an_email_that_cannot_become_a_message_is_one_row() -> None:
    assert reasons(read(b"somebody's text\n", "f.eml", "eml")) == [
        "f.eml: it is not an email: it does not begin with a header; check what the path matches"
    ]
    assert "no Message-ID" in reasons(read(b"Subject: a\n\nsomebody's text", "f.eml", "eml"))[0]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_make_a_reader_fail_in_another_way(data: bytes) -> None:
    for name in ("f.jsonl", "f.csv", "f.eml", "f.parquet", "f.jsonl.gz"):
        file_format = format_of(name)
        assert file_format
        for content in (data, b"Message-ID: <1@x>\n" + data):
            with contextlib.suppress(ReadError):
                list(read_rows(io.BytesIO(content), name, file_format))


def test_importing_the_readers_is_cheap() -> None:
    code = (
        "import sys, airflow_provider_cm.loading.readers\n"
        "print([each for each in ('requests', 'pyarrow', 'email', 'csv', 'gzip', 'airflow') if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
