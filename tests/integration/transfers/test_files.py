"""FilesToCommsMiningOperator from the local disk and from an S3 server, through Airflow connections."""

from __future__ import annotations

import gzip
import io
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException, ObjectStoragePath

from airflow_provider_cm.exceptions import CommsMiningFailure, CommsMiningRetryable
from airflow_provider_cm.loading.readers import read_rows
from airflow_provider_cm.transfers.files_to_comms_mining import FilesToCommsMiningOperator
from tests.integration.transfers.conftest import AT, MAPPING, PROJECT, SOURCE, WHERE, Task, message_ids, texts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_cm.emulator import TenantHandle

    Put = Callable[[str, bytes], str]

pytestmark = pytest.mark.integration


@pytest.fixture(params=["disk", "file-url", "s3"])
def put(request: pytest.FixtureRequest, tmp_path: Path) -> Put:
    """Give a function that stores a file, and gives its path or URL."""
    if request.param == "s3":
        bucket = request.getfixturevalue("bucket")

        def upload(name: str, data: bytes) -> str:
            bucket.put_object(Key=f"in/{name}", Body=data)
            return f"s3://store@{bucket.name}/in/{name}"

        return upload

    def write(name: str, data: bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return f"file://{path}" if request.param == "file-url" else str(path)

    return write


def rows(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": each, "sent": AT, "text": f"Text {each}"} for each in numbers]


def jsonl(*numbers: int) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows(*numbers))


def csv(*numbers: int) -> bytes:
    return ("id,sent,text\n" + "".join(f"{each},{AT},Text {each}\n" for each in numbers)).encode()


def parquet(*numbers: int) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows(*numbers)), file, row_group_size=2)
    return file.getvalue()


def email(number: int) -> bytes:
    return (
        f"Message-ID: <{number}@example.org>\r\nFrom: ann@example.org\r\nTo: bob@example.org\r\nSubject: S{number}\r\n"
        f"Date: Mon, 05 Jan 2026 09:12:00 +0000\r\n\r\nText {number}"
    ).encode()


def task(path: Any, **arguments: Any) -> FilesToCommsMiningOperator:
    given = {"mapping": MAPPING} | arguments
    given = {name: value for name, value in given.items() if value is not None}
    return FilesToCommsMiningOperator(task_id="t", **WHERE, path=path, **given)


def load(path: Any, **arguments: Any) -> dict[str, Any]:
    return task(path, **arguments).execute({"ti": Task()})


def folder(path: str) -> str:
    return path.rpartition("/")[0]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.jsonl", jsonl),
        ("a.csv", csv),
        ("a.parquet", parquet),
        ("a.jsonl.gz", lambda *numbers: gzip.compress(jsonl(*numbers))),
        ("a.csv.gz", lambda *numbers: gzip.compress(csv(*numbers))),
    ],
)
def test_every_row_of_a_file_is_loaded(tenant: TenantHandle, put: Put, name: str, make: Any) -> None:
    path = put(name, make(*range(5)))
    report = load(path)
    assert (report["rows"], report["new"], report["rejected"]) == (5, 5, 0)
    assert texts(tenant) == {f"m-{each}": f"Text {each}" for each in range(5)}
    assert load(path)["unchanged"] == 5


def test_a_glob_and_a_list_name_files_each_of_them_once(tenant: TenantHandle, put: Put) -> None:
    first = put("day=1/a.jsonl", jsonl(1, 2))
    put("day=1/b.jsonl", jsonl(3))
    put("day=2/c.jsonl", jsonl(4))
    put("day=2/d.txt", b"not to be read")
    day = folder(first)
    glob = f"{folder(day)}/day=*/*.jsonl"
    found = task([glob, first, f"{day}/*.jsonl"])
    report = found.execute({"ti": Task()})
    assert (report["rows"], report["new"], report["duplicates"]) == (4, 4, 0)
    assert sorted(message_ids(tenant)) == ["m-1", "m-2", "m-3", "m-4"]
    assert load(f"{folder(day)}/**/*.jsonl")["unchanged"] == 4
    assert load(f"{day}/[ab].jso?l")["unchanged"] == 3


def test_a_file_that_came_since_the_last_look_is_found(tenant: TenantHandle, put: Put) -> None:
    glob = f"{folder(put('a.jsonl', jsonl(1)))}/*.jsonl"
    assert load(glob)["rows"] == 1
    put("b.jsonl", jsonl(2))
    assert load(glob)["rows"] == 2


def test_rows_come_in_the_order_of_the_names(tenant: TenantHandle, put: Put) -> None:
    for number in (3, 1, 2):
        path = put(f"{number}.jsonl", jsonl(number))
    load(f"{folder(path)}/*.jsonl")
    assert message_ids(tenant) == ["m-1", "m-2", "m-3"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tenant: TenantHandle, put: Put) -> None:
    path = put("a[1].jsonl", jsonl(1))
    put("a1.jsonl", jsonl(2))
    load(path)
    assert message_ids(tenant) == ["m-1"]


def test_an_object_storage_path_may_be_given(tenant: TenantHandle, put: Put) -> None:
    assert load(ObjectStoragePath(put("a.jsonl", jsonl(1))))["new"] == 1


def test_emails_go_where_the_server_takes_emails(tenant: TenantHandle, put: Put) -> None:
    for number in (1, 2):
        path = put(f"{number}.eml", email(number))
    put("3.eml.gz", gzip.compress(email(3)))
    report = load(f"{folder(path)}/*.eml*", mapping=None)
    assert (report["rows"], report["new"]) == (3, 3)
    stored = tenant.messages(PROJECT, SOURCE)
    assert [each["messages"][0]["body"]["text"] for each in stored] == ["Text 1", "Text 2", "Text 3"]
    assert stored[0]["messages"][0]["from"] == "ann@example.org"
    assert load(f"{folder(path)}/*.eml*", mapping=None)["unchanged"] == 3


def test_nothing_that_matches_fails_the_task_unless_it_may_be(tenant: TenantHandle, put: Put) -> None:
    where = folder(put("a.txt", b""))
    with pytest.raises(CommsMiningFailure, match=r"path: no file matches .*/\*\.jsonl; .* if_empty='skip'"):
        load(f"{where}/*.jsonl")
    with pytest.raises(AirflowSkipException, match="No file matches"):
        load(f"{where}/*.jsonl", if_empty="skip")
    with pytest.raises(CommsMiningFailure, match=r"path: there is no file .*/none\.jsonl"):
        load(f"{where}/none.jsonl")


def test_a_folder_is_not_a_file(tenant: TenantHandle, put: Put) -> None:
    where = folder(put("a.jsonl", jsonl(1)))
    with pytest.raises(CommsMiningFailure, match=r"is a folder; name its files with a glob, such as .*/\*\.jsonl"):
        load(where)


def test_a_bucket_that_is_not_there_is_named(tenant: TenantHandle, bucket: Any) -> None:
    for path in ("s3://store@no-such-bucket/a.jsonl", "s3://store@no-such-bucket/*.jsonl"):
        with pytest.raises((CommsMiningFailure, CommsMiningRetryable), match="no-such-bucket"):
            load(path)


def test_formats_are_told_by_names_or_by_the_argument(tenant: TenantHandle, put: Put) -> None:
    path = put("a.txt", jsonl(1))
    with pytest.raises(CommsMiningFailure, match=r"format: the name of .*a\.txt does not tell it; give format="):
        load(path)
    assert load(path, format="jsonl")["new"] == 1
    put("b.jsonl", jsonl(2))
    put("c.csv", csv(3))
    with pytest.raises(CommsMiningFailure, match="path: the files have several formats: csv, jsonl"):
        load(f"{folder(path)}/?.[jc]*")
    with pytest.raises(CommsMiningFailure, match="delimiter: it is for CSV, and the format is jsonl"):
        load(f"{folder(path)}/b.jsonl", delimiter=";")


def test_csv_may_have_a_delimiter_and_an_encoding_of_its_own(tenant: TenantHandle, put: Put) -> None:
    path = put("a.csv", csv(1).decode().replace(",", ";").replace("Text", "Ärger").encode("cp1252"))
    load(path, delimiter=";", encoding="cp1252")
    assert texts(tenant) == {"m-1": "Ärger 1"}


@pytest.mark.parametrize(
    ("name", "data", "place"),
    [
        (
            "a.jsonl",
            jsonl(1, 2) + b'{"id": 3, "text": "a secret\n' + jsonl(4),
            r"row 3: .*a\.jsonl, line 3.*: not JSON",
        ),
        (
            "a.csv",
            csv(1, 2) + b"3,a secret\n" + f"4,{AT},Text 4\n".encode(),
            r"row 3: .*a\.csv, line 4: it has 2 fields",
        ),
    ],
)
def test_rows_that_cannot_be_read_are_rejected_and_the_others_loaded(
    tenant: TenantHandle, put: Put, tmp_path: Path, name: str, data: bytes, place: str
) -> None:
    path = put(name, data)
    rejects = tmp_path / "rejects.jsonl"
    with pytest.raises(CommsMiningFailure, match=place) as caught:
        load(path, rejects_path=str(rejects))
    assert "a secret" not in str(caught.value)
    assert sorted(message_ids(tenant)) == ["m-1", "m-2", "m-4"]
    (line,) = rejects.read_text().splitlines()
    assert (json.loads(line)["row_number"], json.loads(line)["stage"]) == (3, "mapping")
    assert "a secret" not in line
    assert load(path, max_rejected=1)["rejected"] == 1


def test_emails_that_cannot_be_loaded_are_rejected(tenant: TenantHandle, put: Put) -> None:
    path = put("1.eml", email(1))
    put("2.eml", b"Subject: a\r\n\r\nwithout an id")
    with pytest.raises(CommsMiningFailure, match=r"row 2: .*2\.eml: it has no Message-ID"):
        load(f"{folder(path)}/*.eml", mapping=None)
    assert len(message_ids(tenant)) == 1


def test_a_damaged_file_fails_the_task_and_says_so(tenant: TenantHandle, put: Put) -> None:
    path = put("a.jsonl.gz", gzip.compress(jsonl(*range(5_000)))[:-20])
    with pytest.raises(CommsMiningFailure, match=r"a\.jsonl\.gz: its gzip data is damaged or ends too early"):
        load(path)


def test_the_origin_changes_with_a_file(tenant: TenantHandle, put: Put) -> None:
    path = put("a.jsonl", jsonl(1))
    before = task(path).origin({})
    assert task(path).origin({}) == before
    put("a.jsonl", jsonl(2))  # of the same size
    assert task(path).origin({}) != before


def test_lineage_names_the_files(tenant: TenantHandle, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put("a.jsonl", jsonl(1))
    put("b.jsonl", jsonl(2))
    loaded = task(f"{folder(path)}/*.jsonl")
    loaded.execute({"ti": Task()})
    named = [(each.namespace, each.name) for each in loaded.lineage_inputs()]
    assert [name.rpartition("/")[2] for _, name in named] == ["a.jsonl", "b.jsonl"]
    expected = "s3://" if path.startswith("s3") else "file"
    assert all(namespace.startswith(expected) and "store@" not in namespace for namespace, _ in named)
    assert path.startswith("s3") == all(name.startswith("in/") for _, name in named)
    monkeypatch.setattr("airflow_provider_cm.transfers.files_to_comms_mining._MOST_DATASETS", 1)
    (whole,) = loaded.lineage_inputs()
    assert whole.name.endswith("*.jsonl")


def test_only_the_first_reads_of_a_large_object_hold_it(tenant: TenantHandle, bucket: Any) -> None:
    bucket.put_object(Key="big.jsonl", Body=jsonl(1) + b" " * (12 * 1024 * 1024))
    loaded = task(f"s3://store@{bucket.name}/big.jsonl")
    row = next(loaded.rows({}))
    assert row["id"] == 1


def test_parquet_is_fetched_once_although_its_columns_are_read_by_turns(tenant: TenantHandle, bucket: Any) -> None:
    file = io.BytesIO()
    columns = {name: [f"{name} {each} " * 40 for each in range(20_000)] for name in ("id", "sent", "text")}
    pq.write_table(pa.table(columns), file, row_group_size=20_000, compression="none", use_dictionary=False)
    bucket.put_object(Key="big.parquet", Body=file.getvalue())
    loaded = task(f"s3://store@{bucket.name}/big.parquet")
    (found,) = loaded._files()
    fetched = 0
    with found.open(in_order=False) as opened:
        read = opened.read

        def counted(size: int = -1) -> bytes:
            nonlocal fetched
            data = read(size)
            fetched += len(data)
            return data

        opened.read = counted  # type: ignore[method-assign]
        assert sum(1 for _ in read_rows(opened, found.name, "parquet")) == 20_000
        assert opened.cache.name in {"none", None}  # type: ignore[attr-defined]
    assert len(file.getvalue()) <= fetched < 1.2 * len(file.getvalue())
