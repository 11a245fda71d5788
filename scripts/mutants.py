"""Break the provider in one way at a time, and show that its tests notice.

Each mutant is one bug: a text of the code, replaced by another in a copy of the repository, and the tests that are to
fail then. A mutant whose text is not found exactly once has to be renewed: the script says so and fails.

    python scripts/mutants.py            # all of them
    python scripts/mutants.py redirects  # those whose name holds a word
"""

from __future__ import annotations

import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
COPIED = ("airflow_provider_cm", "tests", "pyproject.toml")
AT_ONCE = 2
SECONDS = 90

API = "airflow_provider_cm/api"
UNIT = "tests/unit/api"
SETTLE, RETRY, AUTH = f"{UNIT}/test_lost_responses.py", f"{UNIT}/test_retry.py", f"{UNIT}/test_client_credentials.py"
SESSION, TRANSPORT = f"{UNIT}/test_session.py", f"{UNIT}/test_transport.py"
OPERATORS, TRIGGER_TESTS = "tests/unit/operators/test_sources.py", "tests/unit/triggers/test_sources.py"
SHARING, WATCHING = "tests/integration/test_sharing.py", "tests/integration/test_watching.py"
TRIGGERS = "airflow_provider_cm/triggers"
CLIENTS = "tests/unit/triggers/test_poll_client.py"
SENSOR, SENSOR_TESTS = "airflow_provider_cm/sensors/sources.py", "tests/unit/sensors/test_sources.py"
HOSTILE, NOTATIONS = "tests/secrets/test_hostile_texts.py", "tests/secrets/test_notations.py"
HOOK, HOOK_TESTS = "airflow_provider_cm/hooks/comms_mining.py", "tests/unit/hooks/test_comms_mining.py"

# Loaded into pytest: tests of the original would prove nothing.
GUARD = """
import os, pathlib, pytest
def pytest_sessionstart(session):
    import airflow_provider_cm, tests
    for module in (airflow_provider_cm, tests):
        if not pathlib.Path(module.__file__).is_relative_to(os.environ["MUTANT_COPY"]):
            pytest.exit(f"{module.__name__} comes from {module.__file__}", returncode=99)
"""


@dataclass(frozen=True)
class Mutant:
    """One bug.

    :param name: what it does wrong.
    :param edits: (file, text that occurs once, text to put in its place).
    :param tests: arguments for pytest: what is to fail.
    """

    name: str
    edits: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...]


_DELETE = "return DeleteSource(self.session, check_source_id(source_id), project).carry_out()"
_PLAIN_HEADER = (
    "prepared = session.prepare_request(requests.Request(method, url, data=body, headers={**headers, "
    "**auth(requests.Request('GET', url).prepare()).headers}))"
)

MUTANTS = [
    Mutant(
        "retry 409",
        (
            (
                f"{API}/errors.py",
                "RETRIED_CLIENT_STATUSES = frozenset({408, 425, 429})",
                "RETRIED_CLIENT_STATUSES = frozenset({408, 409, 425, 429})",
            ),
        ),
        (RETRY,),
    ),
    Mutant(
        "take a first 404 of a delete for success",
        (
            (
                f"{API}/sources.py",
                f"        {_DELETE}\n",
                f"        try:\n            {_DELETE}\n        except Exception:\n            return True\n",
            ),
        ),
        (SETTLE, "-k", "delete"),
    ),
    Mutant(
        "replay a create without the re-read",
        (
            (
                f"{API}/lost_responses.py",
                "settled = self._look(doubt)",
                'settled = None if self.call.method == "PUT" else self._look(doubt)',
            ),
        ),
        (SETTLE, "-k", "create"),
    ),
    Mutant(
        "claim a source that was there before",
        (
            (
                f"{API}/clocks.py",
                "return source.updated_at - source.created_at > taken + CLOCK_TOLERANCE",
                "return False",
            ),
        ),
        (SETTLE, "-k", "before or upsert or clock"),
    ),
    Mutant(
        "send bucket_id: null on update",
        (
            (
                f"{API}/sources.py",
                "        if detach_bucket:\n",
                "        if detach_bucket or 'bucket_id' not in wanted:\n",
            ),
        ),
        (f"{UNIT}/test_sources.py",),
    ),
    Mutant(
        "ignore Retry-After",
        ((f"{API}/retry.py", "        if retry_after is not None:\n            return retry_after\n", ""),),
        (RETRY,),
    ),
    Mutant(
        "follow redirects",
        (
            (f"{API}/transport.py", "allow_redirects=False", "allow_redirects=True"),
            (f"{API}/transport.py", "def get_redirect_target(self, resp", "def get_no_redirect_target(self, resp"),
        ),
        (SESSION, "-k", "redirect"),
    ),
    Mutant(
        "put the token in an error",
        ((f"{API}/verdicts.py", "scrub = partial(redact, secrets=secrets)", "scrub = str"),),
        (SESSION, "-k", "echoes"),
    ),
    Mutant(
        "forget to renew on 401",
        (
            (
                f"{API}/session.py",
                "if outcome.status != 401:",
                "if True:",
            ),
        ),
        (AUTH, "-k", "renewed or reloaded"),
    ),
    Mutant(
        "send the token as a plain header, which .netrc replaces",
        (
            (f"{API}/transport.py", "session.trust_env = False", "session.trust_env = True"),
            (
                f"{API}/transport.py",
                "        prepared = requests.PreparedRequest()\n",
                "",
            ),
            (
                f"{API}/transport.py",
                "prepared.prepare(method, url, headers=headers, data=body, auth=auth)",
                _PLAIN_HEADER,
            ),
        ),
        (TRANSPORT, "-k", "netrc"),
    ),
    Mutant(
        "no deadline for what drips",
        (
            (
                f"{API}/wire.py",
                "_exchange.at, _exchange.begun = time.monotonic() + seconds, False",
                "_exchange.at, _exchange.begun = None, False",
            ),
        ),
        (TRANSPORT, "-k", "drip"),
    ),
    Mutant(
        "take a gateway's HTML 404 for 'not there'",
        ((f"{API}/verdicts.py", "if problem is not None:", "if problem is not None and reply.status != 404:"),),
        (SESSION, "-k", "not_this_apis and JSON"),
    ),
    Mutant(
        "do not split a guarded path at %2F",
        (
            (
                f"{API}/guards.py",
                r'whole = tuple(part for segment in path for part in re.split(r"[/\\]", segment))',
                "whole = tuple(path)",
            ),
        ),
        (f"{UNIT}/test_guards.py", "-k", "segment and not reading"),
    ),
    Mutant(
        "poll without a pause after a failure",
        ((f"{TRIGGERS}/poll_loop.py", "return max(self._interval, min(", "return min(self._interval, max("),),
        (SHARING, "-k", "stretches"),
    ),
    Mutant(
        "poll for each task",
        (
            (
                f"{TRIGGERS}/sources.py",
                "self.endpoint, *reads, terms.interval)",
                "self.endpoint, *reads, terms.interval, self.source_name)",
            ),
        ),
        (SHARING,),
    ),
    Mutant(
        "let a late joiner wait for the next poll",
        ((f"{TRIGGERS}/sources.py", "    if latest is not None:\n        yield latest\n", ""),),
        (SHARING, "-k", "late_joiner"),
    ),
    Mutant(
        "end a wait by a state that was read before it began",
        ((f"{TRIGGERS}/deferred_wait.py", "item.asked_at < looked_at", "False"),),
        (SHARING, "-k", "before_the_task"),
    ),
    Mutant(
        "keep the last snapshot when a poll fails",
        ((f"{TRIGGERS}/sources.py", "cls._latest.pop(key, None)", "pass"),),
        (SHARING, "-k", "forgotten"),
    ),
    Mutant(
        "write the poll's log into a task's",
        ((f"{TRIGGERS}/sources.py", "        structlog.contextvars.clear_contextvars()\n", ""),),
        (SHARING, "-k", "log_of_a_poll"),
    ),
    Mutant(
        "wait for a stalling server beyond the deadline",
        ((f"{TRIGGERS}/deferred_wait.py", "asyncio.timeout(None if end is None else ", "asyncio.timeout(None and "),),
        (TRIGGER_TESTS, "-k", "deadline"),
    ),
    Mutant(
        "take an unreadable source for a deleted one",
        ((f"{TRIGGERS}/readers.py", "return listed if proven else None", "return listed"),),
        (TRIGGER_TESTS, "-k", "permission"),
    ),
    Mutant(
        "take a missing project for a source that is gone",
        ((f"{TRIGGERS}/condition.py", "Listed(sources.list(self.address.project))", "Listed([])"),),
        (SENSOR_TESTS, "-k", "misspelt"),
    ),
    Mutant(
        "an event for what holds at a watcher's first look",
        (
            (f"{TRIGGERS}/asset_watch.py", "fired = mark is not None and look.mark", "fired = look.mark"),
            (f"{TRIGGERS}/asset_watch.py", "look.mark != mark.value\n", "(mark is None or look.mark != mark.value)\n"),
        ),
        (WATCHING,),
    ),
    Mutant(
        "events for a state that holds",
        ((f"{TRIGGERS}/asset_watch.py", "look.mark is not None and look.mark != mark.value", "look.mark is not None"),),
        (WATCHING,),
    ),
    Mutant(
        "store a watcher's cursor before its event",
        ((f"{TRIGGERS}/asset_watch.py", "now + EVENT_IS_STORED_AFTER if after_event else now", "now"),),
        (WATCHING, "-k", "repeated"),
    ),
    Mutant(
        "talk to Airflow from a thread that its loop does not know",
        (
            (
                f"{TRIGGERS}/poll_client.py",
                "asyncio.shield(sync_to_async(function, thread_sensitive=False, executor=threads)(*arguments))",
                "asyncio.get_running_loop().run_in_executor(threads, lambda: function(*arguments))",
            ),
        ),
        (TRIGGER_TESTS, "-k", "heard"),
    ),
    Mutant(
        "give up a request to Airflow before it has answered",
        (
            (
                f"{TRIGGERS}/poll_client.py",
                "return await asyncio.shield(sync_to_async(",
                "return await (sync_to_async(",
            ),
            (f"{TRIGGERS}/poll_client.py", "return await asyncio.shield(working)", "return await working"),
            (f"{TRIGGERS}/poll_client.py", "await asyncio.shield(self._reading)", "await self._reading"),
        ),
        (TRIGGER_TESTS, "-k", "heard"),
    ),
    Mutant(
        "more polls of a connection at a time than it has places",
        ((f"{TRIGGERS}/poll_client.py", "asyncio.Semaphore(MOST_POLLS)", "asyncio.Semaphore(10**6)"),),
        (CLIENTS, "-k", "leave_the_queue"),
    ),
    Mutant(
        "one queue for all connections",
        ((f"{TRIGGERS}/poll_client.py", "threads=self._threads)", "threads=_threads)"),),
        (CLIENTS, "-k", "does_not_hold_up"),
    ),
    Mutant(
        "keep what nobody polls any more",
        ((f"{TRIGGERS}/poll_client.py", "            client.close()\n", ""),),
        (CLIENTS, "-k", "nothing_is_left"),
    ),
    Mutant(
        "a poll that lasts as long as a call of the connection",
        ((f"{TRIGGERS}/poll_loop.py", "session.within(self._seconds)", "session"),),
        (CLIENTS, "-k", "no_longer_than"),
    ),
    Mutant(
        "end a wait with another tenant's source",
        (
            (f"{TRIGGERS}/deferred_wait.py", "if item.endpoint != self._endpoint:", "if False:"),
            (f"{TRIGGERS}/poll_loop.py", "endpoint != self._endpoint:", "False:"),
        ),
        (TRIGGER_TESTS, "-k", "another_tenants"),
    ),
    Mutant(
        "end a wait in a short outage",
        ((f"{TRIGGERS}/failure_budget.py", "(now - self.since).total_seconds() >= self._seconds", "True"),),
        (TRIGGER_TESTS, SENSOR_TESTS, "-k", "short_outage"),
    ),
    Mutant(
        "believe the first look that a source is gone",
        ((f"{TRIGGERS}/second_look.py", "await asyncio.sleep(conditions.SECOND_LOOK_AFTER)", "return look"),),
        (TRIGGER_TESTS, "-k", "outdated or longer_than"),
    ),
    Mutant(
        "one cursor for dev and prod",
        ((f"{TRIGGERS}/asset_watch.py", "[*place, *arguments, ", "[*arguments, "),),
        (WATCHING, "-k", "two_tenants"),
    ),
    Mutant(
        "let a deferral run longer than the task's execution_timeout",
        ((SENSOR, "None if limit is None else (began + limit).isoformat()", "None"),),
        (SENSOR_TESTS, "-k", "execution_timeout"),
    ),
    Mutant(
        "restart a wait's timeout with each retry",
        (("airflow_provider_cm/sensors/sensor_state.py", "return first or began", "return began"),),
        (SENSOR_TESTS, "-k", "anew"),
    ),
    Mutant(
        "raise what ended a deferred wait without its type",
        (
            (
                f"{TRIGGERS}/error_events.py",
                "return kind(message, **facts)",
                "return CommsMiningError(message, **facts)",
            ),
        ),
        (SENSOR_TESTS, "-k", "raised_as"),
    ),
    Mutant(
        "delete what holds messages",
        (("airflow_provider_cm/operators/sources.py", "        if count:\n", "        if count > 1000:\n"),),
        (OPERATORS, "-k", "only_if_empty"),
    ),
    Mutant(
        "take a rendered 'False' for true",
        ((f"{API}/arguments.py", 'return value.strip().lower() == "true"', "return bool(value)"),),
        (OPERATORS,),
    ),
    Mutant(
        "take a lost update for done",
        ((f"{API}/source_writes.py", "        if differences or unknown:\n", "        if False:\n"),),
        (SETTLE, "-k", "update"),
    ),
    Mutant(
        "repeat any write whose outcome is unknown",
        (
            (
                f"{API}/session.py",
                "(outcome.verdict is Verdict.UNKNOWN and call.safe)",
                "outcome.verdict is Verdict.UNKNOWN",
            ),
        ),
        (SESSION, "-k", "generic_write"),
    ),
    Mutant(
        "plain http to any host",
        (
            (
                f"{API}/endpoint.py",
                'if parts.scheme == "http" and not (allow_http or is_loopback(host)):',
                "if False:",
            ),
        ),
        (f"{UNIT}/test_endpoint.py",),
    ),
    Mutant(
        "a token for each call instead of each process",
        ((f"{API}/client_credentials.py", "return _cells.setdefault(self._key, _Cell())", "return _Cell()"),),
        (AUTH, "-k", "thirty_two or life"),
    ),
    Mutant(
        "speak on the parent's connection after a fork",
        ((f"{API}/transport.py", "if session is None or self._local.pid != os.getpid():", "if session is None:"),),
        ("tests/concurrency/test_one_hook.py", "-k", "parents_connection"),
    ),
    Mutant(
        "look for the token as it is only",
        ((f"{API}/redaction.py", "for notation in _NOTATIONS if depth else ():", "for notation in ():"),),
        (NOTATIONS, "-k", "in_every_notation"),
    ),
    Mutant(
        "forget the proxy's password when a proxy is quoted",
        ((f"{API}/session.py", "[*self._auth.secrets(), *self._transport.secrets()]", "self._auth.secrets()"),),
        ("tests/secrets/test_secrets.py", "-k", "test_no_secret_is_shown"),
    ),
    Mutant(
        "keep the request's headers in the traceback of a task that is ended",
        ((f"{API}/transport.py", "error.__traceback__ = error.__context__ = None", "pass"),),
        (HOSTILE, "-k", "ended_while_it_waits"),
    ),
    Mutant(
        "secrets: send a reloaded token wherever the connection led before",
        ((HOOK, "        if not changed:\n", "        if True:\n"),),
        (HOOK_TESTS, "-k", "meant_for_another_place"),
    ),
    Mutant(
        "secrets: let the exception of a secrets backend out",
        ((f"{API}/auth.py", "        failure = type(error).__name__\n    else:", "        raise\n    else:"),),
        (AUTH, "-k", "reload_that_breaks"),
    ),
    Mutant(
        "secrets: mask no token",
        ((HOOK, "on_token=mask_secret", "on_token=None"),),
        (HOOK_TESTS, "-k", "masked_in_airflows_logs"),
    ),
    Mutant(
        "secrets: use a token that could not be masked",
        ((f"{API}/client_credentials.py", "        if failure is not None:\n", "        if False:\n"),),
        (AUTH, "-k", "cannot_be_masked"),
    ),
    Mutant(
        "secrets: show them in results",
        ((f"{API}/verdicts.py", "redact_data(payload, secrets)", "redact_data(payload, [])"),),
        (HOSTILE, "-k", "forges"),
    ),
    Mutant(
        "secrets: show them in a repr",
        ((f"{API}/redaction.py", "        return \"'***'\"\n", "        return str.__repr__(self)\n"),),
        (NOTATIONS, "-k", "sealed"),
    ),
    Mutant(
        "promise: check no certificate",
        ((f"{API}/transport.py", "            verify=self._verification(),\n", "            verify=False,\n"),),
        (TRANSPORT, "-k", "certificate or tls or TLS"),
    ),
    Mutant(
        "promise: keep cookies",
        (
            (f"{API}/transport.py", "session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))", "pass"),
            (
                f"{API}/transport.py",
                "headers=headers, data=body, auth=auth)",
                "headers=headers, data=body, auth=auth, cookies=session.cookies)",
            ),
        ),
        (HOSTILE, "-k", "cookie"),
    ),
    Mutant(
        "promise: read a response of any size",
        ((f"{API}/transport.py", "if size > MAX_RESPONSE_BYTES:", "if False:"),),
        (TRANSPORT, "-k", "bomb or too_large"),
    ),
    Mutant(
        "promise: ignore read_only",
        ((f"{API}/guards.py", "        if self.read_only:\n", "        if False:\n"),),
        (f"{UNIT}/test_guards.py",),
    ),
    Mutant(
        "promise: ignore allow_delete",
        ((f"{API}/guards.py", 'if method == "DELETE" and not self.allow_delete:', "if False:"),),
        (f"{UNIT}/test_guards.py",),
    ),
    Mutant(
        "promise: ignore allowed_projects",
        ((f"{API}/guards.py", "if not any(fnmatchcase(project, pattern) for pattern in allowed):", "if False:"),),
        (f"{UNIT}/test_guards.py",),
    ),
    Mutant(
        "promise: credentials in a URL",
        ((f"{API}/endpoint.py", '    if "@" in url:\n', "    if False:\n"),),
        (f"{UNIT}/test_endpoint.py",),
    ),
    Mutant(
        "promise: go through the environment's proxy to this machine",
        ((f"{API}/transport.py", 'elif is_loopback(urlsplit(url).hostname or ""):', "elif False:"),),
        (TRANSPORT, "-k", "proxy or proxies"),
    ),
    Mutant(
        "tokens: wait for another call's renewal without end",
        ((f"{API}/auth.py", "timeout=min(budget.remaining(), threading.TIMEOUT_MAX)", "timeout=30"),),
        (AUTH, "-k", "ends_with_the_own_time"),
    ),
    Mutant(
        "tokens: fail when an early renewal does",
        (
            (
                f"{API}/client_credentials.py",
                "                cell.renew_at = min(time.monotonic() + _EARLY_PAUSE, cell.expires_at)\n",
                "                raise\n",
            ),
        ),
        (AUTH, "-k", "ten_seconds_more"),
    ),
    Mutant(
        "let names of a server into logs as they are",
        ((f"{API}/models.py", " and value.isprintable()", ""),),
        (f"{UNIT}/test_models.py",),
    ),
]


@dataclass(frozen=True)
class Result:
    """What became of a mutant: the test that failed, or why none did."""

    killed_by: str | None
    problem: str
    seconds: float


def make_copy(folder: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for name in COPIED:
        source = HERE / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    (folder / "mutant_guard.py").write_text(GUARD)
    return folder


def check(mutants: list[Mutant]) -> list[str]:
    problems = []
    for mutant in mutants:
        for file, old, _ in mutant.edits:
            count = (HERE / file).read_text().count(old)
            if count != 1:
                problems.append(f"'{mutant.name}' has to be renewed: its text occurs {count} times in {file}: {old!r}")
    return problems


def run(copy: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        "PYTHONPATH": str(copy),
        "MUTANT_COPY": str(copy),
        # Python tells compiled files apart by size and second, in which a mutant may come and go.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    words = ["-m", "pytest", "-x", "-q", "-rf", "--show-capture=no", "--tb=no", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [sys.executable, *words, "-p", "mutant_guard", *tests],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return -1, f"no end within {SECONDS} s"
    return done.returncode, done.stdout + done.stderr


def judge(copy: Path, mutant: Mutant) -> Result:
    originals = {file: (copy / file).read_text() for file, _, _ in mutant.edits}
    began = time.monotonic()
    try:
        for file, old, new in mutant.edits:
            path = copy / file
            path.write_text(path.read_text().replace(old, new))
        code, output = run(copy, mutant.tests)
    finally:
        for file, text in originals.items():
            (copy / file).write_text(text)
    seconds = time.monotonic() - began
    failed = re.search(r"^FAILED (.+?)(?: - .*)?$", output, re.MULTILINE)
    if code == 1 and failed:
        return Result(failed[1].partition("::")[2] or failed[1], "", seconds)
    # A copy that cannot even be imported does not test the tests.
    problem = "survived" if code == 0 else f"pytest ended with {code}: {output[-600:]}"
    return Result(None, problem, seconds)


def control(copies: queue.SimpleQueue[Path], mutants: list[Mutant], pool: ThreadPoolExecutor) -> list[str]:
    """Run the tests of all mutants without one: what fails then, fails for another reason."""
    selections = list(dict.fromkeys(mutant.tests for mutant in mutants))

    def passes(tests: tuple[str, ...]) -> str:
        copy = copies.get()
        try:
            code, output = run(copy, tests)
        finally:
            copies.put(copy)
        return "" if code == 0 else f"without a mutant, {' '.join(tests)} ended with {code}:\n{output[-2000:]}"

    return [problem for problem in pool.map(passes, _joined(selections)) if problem]


def _joined(selections: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return all files but the slowest as one run, since starting takes as long as running."""
    files = dict.fromkeys(word for tests in selections for word in tests if word.endswith(".py"))
    slow = [file for file in files if file.endswith("test_secrets.py")]
    return [(file,) for file in slow] + [tuple(file for file in files if file not in slow)]


def main(words: list[str]) -> int:
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    if problems := check(chosen):
        print("\n".join(problems))
        return 1
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(AT_ONCE):
            copies.put(make_copy(Path(folder) / f"copy{number}"))
        if problems := control(copies, chosen, pool):
            print("\n".join(problems))
            return 1
        print(f"control: all selected tests pass without a mutant ({time.monotonic() - began:.0f} s)", flush=True)

        def one(mutant: Mutant) -> Result:
            copy = copies.get()
            try:
                return judge(copy, mutant)
            finally:
                copies.put(copy)

        width = max(len(mutant.name) for mutant in chosen)
        killed = 0
        for mutant, result in zip(chosen, pool.map(one, chosen), strict=True):
            killed += result.killed_by is not None
            print(f"{mutant.name:<{width}}  {result.seconds:4.0f} s  {result.killed_by or result.problem}", flush=True)
    print(f"{killed} of {len(chosen)} mutants killed in {time.monotonic() - began:.0f} s")
    return 0 if killed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
