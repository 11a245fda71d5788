"""The searcher finds what is planted, in every channel and every notation; else finding nothing would say nothing."""

from __future__ import annotations

import base64
import html
import json
import logging
import sys
import warnings
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pytest
import structlog
from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_cm.api.errors import CommsMiningError
from airflow_provider_cm.api.transport import Transport
from tests.secrets.search import Haul, Hit, logs_captured, spellings, warnings_captured
from tests.secrets.situations import APP_SECRET, PROXY_PASSWORD, TOKEN
from tests.secrets.subjects import _run_task

if TYPE_CHECKING:
    from collections.abc import Callable

WAYS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "plain, cut at its end": lambda secret: secret[:14] + "... (99 characters)",
    "plain, cut at its beginning": lambda secret: "..." + secret[-14:],
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 after a name": lambda secret: base64.b64encode(f"user:{secret}".encode()).decode(),
    "base64 after another name": lambda secret: base64.b64encode(f"user2:{secret}!".encode()).decode(),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    "URL-encoded": lambda secret: quote(secret, safe=""),
    "URL-encoded as in a form": quote_plus,
    "JSON-escaped": lambda secret: json.dumps({"deep": [secret]}),
    "HTML-escaped": html.escape,
    "repr": repr,
}


def found(haul: Haul, secret: str = TOKEN) -> list[Hit]:
    return haul.search({"the secret": secret, "another": "Zx8-never-to-be-seen-Qw4"})


@pytest.mark.parametrize("secret", [TOKEN, APP_SECRET, PROXY_PASSWORD], ids=["token", "App Secret", "proxy password"])
@pytest.mark.parametrize("way", WAYS)
def test_every_notation_is_found(way: str, secret: str) -> None:
    haul = Haul()
    haul.add("log", f"well\nGET sources -> 401 ({WAYS[way](secret)})\nwell")
    assert {hit.secret for hit in found(haul, secret)} == {"the secret"}, way


def test_the_secrets_look_different_in_every_notation() -> None:
    for secret in (TOKEN, APP_SECRET, PROXY_PASSWORD):
        forms = [next(iter(each)) for each in spellings(secret).values()]
        assert len(set(forms)) == len(forms)


def _raise(leak: str) -> None:
    raise CommsMiningError(f"refused: {leak}")


def _plant_exception(haul: Haul, leak: str, act: Callable[[str], None] = _raise) -> None:
    try:
        act(leak)
    except Exception as error:  # noqa: BLE001
        haul.add_exception("exception", error)


def _plant_in_variables(haul: Haul, leak: str) -> None:
    namespace: dict[str, Any] = {}
    exec("def library(headers):\n    return 1 / 0", namespace)  # a frame that is not in the tests' folder
    _plant_exception(haul, leak, lambda text: namespace["library"]({"Authorization": text}))


def _plant_in_a_suppressed_cause(haul: Haul, leak: str) -> None:
    def act(text: str) -> None:
        try:
            raise KeyError(text)
        except KeyError:
            raise ValueError("nothing to see") from None

    _plant_exception(haul, leak, act)


def _plant_in_an_attribute(haul: Haul, leak: str) -> None:
    def act(text: str) -> None:
        error = CommsMiningError("nothing to see")
        error.api_message = text
        raise error

    _plant_exception(haul, leak, act)


def _plant_in_logs(log: Callable[[str], None]) -> Callable[[Haul, str], None]:
    def plant(haul: Haul, leak: str) -> None:
        with logs_captured() as logs:
            log(leak)
        logs.pour_into(haul)

    return plant


def _log_exception(leak: str) -> None:
    try:
        _raise(leak)
    except CommsMiningError:
        logging.getLogger("airflow_provider_cm.planted").debug("it failed", exc_info=True)


def _log_exception_with_structlog(leak: str) -> None:
    try:
        _raise(leak)
    except CommsMiningError:
        structlog.get_logger("airflow.task.operators.airflow_provider_cm").exception("it failed")


def _plant_warning(haul: Haul, leak: str) -> None:
    with warnings_captured(haul):
        warnings.warn(leak, stacklevel=1)


class _Leaky(Transport):
    def __init__(self, leak: str) -> None:
        super().__init__()
        self._leak = leak

    def __repr__(self) -> str:
        return f"Transport({self._leak})"


_Leaky.__module__ = "airflow_provider_cm.planted"


class _Holder:
    def __init__(self, leak: str) -> None:
        self.deep = {"inner": [_Leaky(leak)]}


_Holder.__module__ = "airflow_provider_cm.planted"


class _LeakyOperator(BaseOperator):
    template_fields = ("leak",)

    def __init__(self, *, leak: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.leak = leak

    def execute(self, context: Any) -> Any:
        context["ti"].xcom_push(key="pushed", value=self.leak)
        return {"returned": [self.leak]}


CHANNELS: dict[str, Callable[[Haul, str], None]] = {
    "exception": _plant_exception,
    "exception: variables": _plant_in_variables,
    "exception, cause": _plant_in_a_suppressed_cause,
    "exception, attribute": _plant_in_an_attribute,
    "log": _plant_in_logs(lambda leak: logging.getLogger("urllib3.connectionpool").debug("got %s", leak)),
    "log, extra": _plant_in_logs(lambda leak: logging.getLogger("planted").debug("well", extra={"headers": leak})),
    "log, structlog": _plant_in_logs(lambda leak: structlog.get_logger("airflow.task").debug("got %s", leak)),
    "log, fields": _plant_in_logs(lambda leak: structlog.get_logger("airflow.task").debug("well", headers=[leak])),
    "log: exception": _plant_in_logs(_log_exception),
    "log: exception, structlog": _plant_in_logs(_log_exception_with_structlog),
    "warning": _plant_warning,
    "object": lambda haul, leak: haul.add_object("object", _Holder(leak)),
    "XCom": lambda haul, leak: _run_task(haul, _LeakyOperator, {"leak": leak}),
}


@pytest.mark.parametrize("way", ["plain", "base64", "URL-encoded"])
@pytest.mark.parametrize("channel", CHANNELS)
def test_a_leak_is_found_in_every_channel(channel: str, way: str) -> None:
    haul = Haul()
    CHANNELS[channel](haul, WAYS[way](TOKEN))
    hits = found(haul)
    assert hits
    assert all(hit.channel.startswith(channel.partition(",")[0].partition(":")[0]) or channel == "XCom" for hit in hits)


def test_a_leak_in_xcom_and_in_a_rendered_template_is_found_in_both() -> None:
    haul = Haul()
    _run_task(haul, _LeakyOperator, {"leak": TOKEN})
    assert haul.counts["XCom"] == 2
    assert {hit.channel for hit in found(haul)} >= {"XCom", "rendered template"}


def test_what_airflow_prints_is_captured(capfd: pytest.CaptureFixture[str]) -> None:
    print(TOKEN)
    sys.stderr.write(quote(TOKEN))
    haul = Haul()
    out, err = capfd.readouterr()
    haul.add("stdout", out)
    haul.add("stderr", err)
    assert {hit.channel for hit in found(haul)} == {"stdout", "stderr"}


def test_nothing_is_found_where_nothing_is() -> None:
    haul = Haul()
    haul.add("log", "GET sources -> 401 (***)")
    _plant_exception(haul, "***")
    assert found(haul) == []


def test_logs_are_as_before_after_a_capture() -> None:
    before = structlog.get_config()["processors"][:], logging.getLogRecordFactory(), logging.getLogger().level
    with logs_captured():
        assert logging.getLogger().level == logging.DEBUG
    after = structlog.get_config()["processors"][:], logging.getLogRecordFactory(), logging.getLogger().level
    assert after == before


def some_commands() -> list[Any]:
    """What a provider might add to Airflow's command line."""
    from airflow.cli.cli_config import ActionCommand, GroupCommand

    plan = ActionCommand(name="plan", help="", func=print, args=())
    return [GroupCommand(name="cm", help="", subcommands=[plan])]
