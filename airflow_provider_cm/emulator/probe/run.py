"""One run of the probe: ask everything, whatever happens clean up, and report."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from airflow_provider_cm.emulator.probe.client import ProbeClient, ProbeStoppedError
from airflow_provider_cm.emulator.probe.credentials import ApplicationCredentials, DeniedError, TroubleError
from airflow_provider_cm.emulator.probe.dataset_questions import DATASET_QUESTIONS
from airflow_provider_cm.emulator.probe.message_questions import MESSAGE_QUESTIONS
from airflow_provider_cm.emulator.probe.questions import QUESTIONS
from airflow_provider_cm.emulator.probe.report import ProbeReport
from airflow_provider_cm.emulator.probe.unsettled import Answer, UnsettledError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.emulator.probe.scratch import Ask, ScratchProject

_TRIES = 3


class ProbeRun:
    """
    Asks the questions, one after the other.

    :param client: the way to the API.
    :param scratch: where to try things out.
    :param tell: called with a text for each step.
    """

    def __init__(self, client: ProbeClient, scratch: ScratchProject, tell: Callable[[str], None]) -> None:
        self._client = client
        self._scratch = scratch
        self._tell = tell
        self.report = ProbeReport(client.endpoint, scratch.project, scratch.prefix)

    def go(self) -> ProbeReport:
        """Do it; whatever happens, what was created is deleted."""
        try:
            self._check_project()
            for name, ask in {**QUESTIONS, **self._about_messages(), **self._about_tokens()}.items():
                self._settle(name, ask)
            self._look_at_a_wrong_token()
        except ProbeStoppedError:
            self.report.stopped = "it was interrupted"
        except (DeniedError, TroubleError) as error:
            self.report.stopped = str(error)
        except BaseException as error:
            self.report.stopped = type(error).__name__
            raise
        finally:
            self._tell("cleaning up")
            self._client.cleaning = True
            self.report.left, self.report.unsure = self._scratch.clean()
            self.report.requests = self._client.requests + getattr(self._client.credentials, "requests", 0)
            self.report.complete()
        return self.report

    def _check_project(self) -> None:
        reply = self._client.call("GET", self._scratch.project)
        if not reply.ok:
            raise DeniedError(f"the project '{self._scratch.project}' can't be listed: {reply}")
        timing = reply.headers.get("Server-Timing")
        self.report.observed["Server-Timing"] = "not sent" if timing is None else f"sent, such as {timing[:60]!r}"

    def _settle(self, name: str, ask: Ask) -> None:
        self._tell(name)
        for attempt in range(_TRIES):
            keep = True
            try:
                value, evidence = ask(self._scratch)
            except UnsettledError as reason:
                self.report.unsettled[name] = str(reason)
            except TroubleError as trouble:
                # What it tried may stand half done: ask again, with other sources.
                keep = False
                self.report.unsettled[name] = f"after {attempt + 1} tries: {trouble}"
                continue
            else:
                self.report.unsettled.pop(name, None)
                self.report.settings[name] = value
                self.report.evidence[name] = evidence
            finally:
                self._scratch.tidy(keep_bench=keep)
            return

    def _look_at_a_wrong_token(self) -> None:
        self._tell("a wrong token")
        reply = self._client.call("GET", self._scratch.project, token=f"probe-{secrets.token_hex(16)}")
        challenge = reply.headers.get("WWW-Authenticate")
        output = f"with WWW-Authenticate: {challenge[:60]!r}" if challenge else "without WWW-Authenticate"
        self.report.observed["a wrong token"] = f"{reply}, {output}"

    def _about_messages(self) -> dict[str, Ask]:
        questions = MESSAGE_QUESTIONS | DATASET_QUESTIONS
        return questions if self._scratch.may_load else dict.fromkeys(questions, _needs_loading)

    def _about_tokens(self) -> dict[str, Ask]:
        credentials = self._client.credentials
        if not isinstance(credentials, ApplicationCredentials):
            return {"token_lifetime": _needs_application, "invalid_client": _needs_application}

        def token_lifetime(_: ScratchProject) -> Answer:
            if credentials.lifetime is None:
                raise UnsettledError("the token endpoint does not say")
            return credentials.lifetime, "expires_in of the token endpoint's answer"

        def invalid_client(_: ScratchProject) -> Answer:
            status = credentials.refusal()
            if status not in (400, 401):
                raise UnsettledError(f"a wrong secret answered {status}")
            return status, f"a wrong secret answered {status}"

        return {"token_lifetime": token_lifetime, "invalid_client": invalid_client}


def _needs_application(_: ScratchProject) -> Answer:
    raise UnsettledError("needs an external application (--app-id)")


def _needs_loading(_: ScratchProject) -> Answer:
    raise UnsettledError("needs a few messages, which are billed (--load-messages)")
