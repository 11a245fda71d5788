"""``make mutants``: break the client in one way at a time, and show that the tests notice each.

The repository is copied to a temporary folder, one bug is put into the copy, and the tests that should find it run
there. A bug whose text is no longer in the code stops the script, so that the list stays true. Exit code 1 if a bug
survives.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "airflow_provider_cm"
AT_ONCE = 2


@dataclass(frozen=True)
class Mutant:
    """One bug.

    :param name: what the client does wrong.
    :param file: module, below the package.
    :param old: the right code, which stands there once.
    :param new: the wrong code.
    :param tests: what pytest runs to find it.
    :param more: further pairs of right and wrong code.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ("tests/unit/api",)
    more: tuple[tuple[str, str], ...] = ()

    @property
    def changes(self) -> tuple[tuple[str, str], ...]:
        """Every pair of right and wrong code."""
        return ((self.old, self.new), *self.more) if self.old else ()


MUTANTS = [
    Mutant(
        "retry a 409",
        "api/errors.py",
        "RETRIED_CLIENT_STATUSES = frozenset({408, 425, 429})",
        "RETRIED_CLIENT_STATUSES = frozenset({408, 409, 425, 429})",
    ),
    Mutant(
        "treat a first 404 on delete as success",
        "api/settle.py",
        "            if not doubtful:\n                raise error\n",
        '            if not doubtful and not (error.status == 404 and self._call.method == "DELETE"):\n'
        "                raise error\n",
        ("tests/unit/api/test_settle.py", "tests/unit/api/test_sources.py"),
    ),
    Mutant(
        "replay a write without reading back",
        "api/settle.py",
        "            settled = self._look(attempted, error)\n",
        "            settled = None\n",
        ("tests/unit/api/test_settle.py",),
    ),
    Mutant(
        "claim a source that was there before",
        "api/settle.py",
        "        return created_at < sent_at - CLOCK_TOLERANCE\n",
        "        return False\n",
        ("tests/unit/api/test_settle.py",),
    ),
    Mutant(
        "take a source with other values for one's own",
        "api/sources.py",
        "            if differences or attempted.preceded_by(source.created_at, look):\n",
        "            if attempted.preceded_by(source.created_at, look):\n",
        ("tests/unit/api/test_settle.py",),
    ),
    Mutant(
        "send bucket_id: null with every update",
        "api/sources.py",
        '        if detach_bucket:\n            wanted["bucket_id"] = None\n',
        '        wanted.setdefault("bucket_id", None)\n',
        ("tests/unit/api/test_sources.py",),
    ),
    Mutant(
        "ignore Retry-After",
        "api/retry.py",
        "        if retry_after is not None:\n            return retry_after\n",
        "",
    ),
    Mutant(
        "follow redirects",
        "api/transport.py",
        "                allow_redirects=False,\n",
        "                allow_redirects=True,\n",
        ("tests/unit/api/test_session.py",),
        (("            session = _Session()\n", "            session = requests.Session()\n"),),
    ),
    Mutant(
        "put the token into an error",
        "api/session.py",
        "        return self._auth.scrub(text, self._transport)\n",
        "        return text\n",
        ("tests/unit/api/test_session.py",),
    ),
    Mutant(
        "show the token in a repr",
        "api/auth.py",
        '        return "Bearer(***)"\n',
        '        return f"Bearer({self.token})"\n',
    ),
    Mutant(
        "forget to renew a token on 401",
        "api/session.py",
        "            if not renewed:\n                return outcome, sent\n",
        "            return outcome, sent\n",
        ("tests/unit/api/test_auth.py",),
    ),
    Mutant(
        "send the token as a plain header, which .netrc replaces",
        "api/transport.py",
        '                    headers={"Content-Type": content_type} if body else None,\n'
        "                    auth=auth,\n",
        '                    headers={"Content-Type": content_type, "Authorization": f"Bearer {auth.token}"},\n'
        "                    auth=requests.utils.get_netrc_auth(url),\n",
        ("tests/unit/api",),
    ),
    Mutant(
        "let a dripping server hold a call",
        "api/transport.py",
        "        if at is not None:\n            left",
        "        if at is None:\n            left",
        ("tests/unit/api/test_transport.py",),
    ),
    Mutant(
        "take a gateway's 404 page for 'not there'",
        "api/envelope.py",
        '        return {}, f"{where}, but the body is not JSON',
        '        return {}, None if status == 404 else f"{where}, but the body is not JSON',
        ("tests/unit/api",),
    ),
    Mutant(
        "let project%2Fname past allowed_projects",
        "api/guards.py",
        'for part in segment.split("/") if part)',
        "for part in [segment] if part)",
        ("tests/unit/api/test_guards.py",),
    ),
    Mutant(
        "poll again at once after a 401",
        "triggers/sources.py",
        "            await asyncio.sleep(min(interval, left))\n",
        "            await asyncio.sleep(0 if failures else min(interval, left))\n",
        ("tests/unit/triggers",),
    ),
    Mutant(
        "take any text for true",
        "api/values.py",
        '    raise ConfigurationError(f"{field}: {shown(value)} is neither true nor false; use True or False")\n',
        "    return bool(value)\n",
        ("tests/unit/operators", "tests/unit/hooks"),
    ),
    Mutant(
        "create without looking first",
        "operators/sources.py",
        "        existing = self._look(sources)\n        if existing is None:\n            try:\n",
        "        existing = None\n        if existing is None:\n            try:\n",
        ("tests/unit/operators",),
    ),
    Mutant(
        "delete what could not be seen to be empty",
        "operators/sources.py",
        "                if only_if_empty:\n                    self._check_empty(sources, source)\n",
        "",
        ("tests/unit/operators",),
    ),
]


def main() -> int:
    started = time.monotonic()
    for mutant in MUTANTS:
        text = (ROOT / PACKAGE / mutant.file).read_text()
        if any(text.count(old) != 1 for old, _ in mutant.changes):
            print(f"The bug '{mutant.name}' must be renewed: its text does not stand once in {mutant.file}")
            return 1
    with ThreadPoolExecutor(AT_ONCE) as pool:
        tests = tuple(sorted({test for mutant in MUTANTS for test in mutant.tests}))
        control = pool.submit(run, Mutant("nothing", "__init__.py", "", "", tests))
        results = [pool.submit(run, mutant) for mutant in MUTANTS]
        if control.result()[0]:
            print(f"The tests fail without a bug, too: {control.result()[1]}")
            return 1
        print(f"{'BUG':<58}{'SECONDS':>8}  FOUND BY")
        survived = 0
        for mutant, result in zip(MUTANTS, results, strict=True):
            killed, said, seconds = result.result()
            survived += not killed
            print(f"{mutant.name:<58}{seconds:>8.1f}  {said if killed else 'NOTHING: IT SURVIVED'}", flush=True)
    print(f"{len(MUTANTS) - survived} of {len(MUTANTS)} bugs found, in {time.monotonic() - started:.0f} s")
    return 1 if survived else 0


def run(mutant: Mutant) -> tuple[bool, str, float]:
    """Put the bug into a copy, and give whether the tests failed, which one did, and how long that took."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="airflow-provider-cm-mutant-") as folder:
        copy = Path(folder)
        for name in (PACKAGE, "tests", "example_dags"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        file = copy / PACKAGE / mutant.file
        for old, new in mutant.changes:
            file.write_text(file.read_text().replace(old, new))
        # That the copy is what is tested, and not the package as installed, is asserted before the tests run.
        check = (
            f"import {PACKAGE}, pytest, sys; assert {PACKAGE}.__file__.startswith({folder!r}); sys.exit(pytest.main())"
        )
        env = os.environ | {
            "PYTHONPATH": folder,
            "PYTEST_ADDOPTS": f"-x -q -p no:cacheprovider {' '.join(mutant.tests)}",
        }
        ended = subprocess.run(
            [sys.executable, "-c", check], cwd=copy, env=env, capture_output=True, text=True, check=False
        )
    failed = [line for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    said = failed[0].split(" ", 1)[1].split(" - ")[0] if failed else ended.stdout[-500:] + ended.stderr[-500:]
    # 1 is pytest's word for tests that failed; anything else means that they did not run properly.
    return ended.returncode == 1 and bool(failed), said, time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())
