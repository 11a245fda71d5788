"""What a task raises keeps what a retry policy needs; and Airflow that has no retry policies is told so."""

from __future__ import annotations

import pickle
import subprocess
import sys

from airflow_provider_cm.api.errors import RateLimitedError
from airflow_provider_cm.exceptions import CommsMiningRetryable, airflow_error
from tests.features import AIRFLOW, has


def test_the_exception_carries_what_the_server_asked_for() -> None:
    assert getattr(airflow_error(RateLimitedError("x", retry_after=7.0)), "retry_after", None) == 7.0
    assert CommsMiningRetryable("x").retry_after is None
    kept = pickle.loads(pickle.dumps(CommsMiningRetryable("why", retry_after=7.0)))
    assert (type(kept), str(kept), kept.retry_after) == (CommsMiningRetryable, "why", 7.0)


BELOW = """
import sys
import airflow
if sys.argv[1] == "pretend":
    # As Airflow below 3.3, where this module does not exist.
    sys.modules["airflow.sdk.definitions.retry_policy"] = None
    airflow.__version__ = "3.2.2"
try:
    import airflow_provider_cm.retry_policy
except ImportError as error:
    print("TOLD", error)
from airflow_provider_cm.operators import sources
"""


def test_airflow_without_policies_is_told_which_version_it_needs() -> None:
    pretend = has("retry policies")
    command = [sys.executable, "-c", BELOW, "pretend" if pretend else "as it is"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert (
        "TOLD airflow_provider_cm.retry_policy needs Airflow 3.3 or newer, where tasks have a `retry_policy`; this is "
        f"Airflow {'3.2.2' if pretend else AIRFLOW}. Leave the policy out"
    ) in ended.stdout
