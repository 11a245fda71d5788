"""What the fault machines draw: every setting of the emulator, and what it and the wire do wrong.

The values of a setting are derived from the emulator's own model, so that a new setting is drawn too, or fails the test
that asks for its values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from hypothesis import strategies as st

from airflow_provider_cm.emulator import EmulatorSettings
from tests.faults.proxy import Wire

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

# The values of settings whose type does not list them. What stops most of the calls is drawn less often.
OPEN_VALUES: dict[str, list[object]] = {
    "languages": [("en",), ("de", "Multilingual")],
    "transform_tags": [(), ("generic.1.OTHER",)],
    "max_title": [0, 1, 4],
    "max_description": [0, 4],
    "max_sensitive_properties": [0, 1],
    "token_lifetime": [1, 8, 60],
    "source_quota": [1, 2],
    "rate_limit": [2, 20],
    "latency_ms": [1.0, 3.0],
    "read_lag_s": [0.5, 2.0, 4.0, 30.0],
    "statistics_lag_s": [0.5, 30.0],
    "message_quota": [0, 1],
    "max_batch": [1, 128],
    "max_raw_email_batch": [1],
    "max_body_bytes": [100_000],
    "max_sources_per_dataset": [1],
    "max_datasets_per_source": [1],
    "predicted_labels": [("Complaint",)],
    "dataset_lag_s": [2.0],
    "prediction_lag_s": [2.0],
    "stream_results": [1],
    "max_stream_results": [1],
    "date_offset_s": [3.0, -3.0, 90.0, -90.0, 86400.0],
}
_SELDOM = {"languages", "max_title", "max_description", "max_sensitive_properties", "source_quota", "rate_limit"}


def setting_values() -> dict[str, list[object]]:
    """Give the values of every setting of the emulator, the default among them as often as all others together."""
    values: dict[str, list[object]] = {}
    for name, field in EmulatorSettings.model_fields.items():
        if get_origin(field.annotation) is Literal:
            allowed = list(get_args(field.annotation))
        elif field.annotation is bool:
            allowed = [True, False]
        else:
            allowed = OPEN_VALUES[name]
        others = [value for value in allowed if value != field.default]
        values[name] = [field.default] * len(others) * (6 if name in _SELDOM else 1) + others
    return values


SETTINGS = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in setting_values().items()})


def random_settings(dice: random.Random, **fixed: object) -> dict[str, object]:
    """Draw every setting without hypothesis.

    :param dice: decides.
    :param fixed: settings that are not to be drawn.
    """
    return {name: dice.choice(values) for name, values in setting_values().items()} | fixed


def odd_settings(settings: Mapping[str, object]) -> list[str]:
    """Name the settings that differ from the default, with their values, for the report."""
    defaults = EmulatorSettings().model_dump()
    return [f"{name}={value}" for name, value in settings.items() if value != defaults[name]]


# What becomes of one request on the wire. Most are left alone, so that calls get somewhere.
LOSSES = [Wire.CUT_BEFORE, Wire.CUT_AFTER, Wire.CUT_AFTER, Wire.CUT_BODY, Wire.LATE, Wire.INTERIM, Wire.CONTINUE]
RIVALS = ["nobody"] * 8 + ["creates", "creates the same", "updates", "deletes"]
# What the server does wrong when it is told to: kind, and options.
ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "429": ("429", {}),
    "429 retry-after": ("429", {"retry_after": 7}),
    "429 retry-after date": ("429", {"retry_after": 7, "date": True}),
    "503": ("503", {}),
    "503 after": ("503", {"when": "after", "retry_after": 2}),
    "502 html": ("502", {"html": True}),
    "504 html after": ("504", {"html": True, "when": "after"}),
    "500 after": ("500", {"when": "after"}),
    "408": ("408", {}),
    "200 error": ("wrong-envelope", {}),
    "200 error after": ("wrong-envelope", {"when": "after"}),
    "404 ok": ("wrong-envelope", {"status": 404}),
    "404 ok after": ("wrong-envelope", {"status": 404, "when": "after"}),
    "200 html": ("html", {}),
    "200 html after": ("html", {"when": "after"}),
    "empty": ("empty", {}),
    "empty after": ("empty", {"when": "after"}),
    "truncated": ("truncated", {}),
    "no answer": ("no-answer", {}),
    "no answer after": ("no-answer", {"when": "after"}),
    "redirect": ("redirect", {"to": "http://127.0.0.1:9/elsewhere"}),
    "quota full": ("quota", {}),
    "token expired": ("expired-token", {}),
    "401": ("401", {}),
    **{
        f"odd-json {odd}": ("odd-json", {"odd": odd})
        for odd in ("surrogate", "nul", "big-integer", "nan", "infinity", "timing")
    },
}
# Odd, and all the same a good answer.
HARMLESS = {f"odd-json {odd}" for odd in ("surrogate", "nul", "big-integer", "timing")}
STEP = st.tuples(
    st.sampled_from([Wire.PASS] * 8 + LOSSES),
    st.sampled_from([*[None] * (2 * len(ANSWERS)), *ANSWERS]),
    st.sampled_from(RIVALS),
    st.sampled_from(["before", "after"]),
)
STALLS = st.sampled_from([None] * 250 + [Wire.STALL_BEFORE, Wire.STALL_AFTER])
SCRIPT = st.lists(STEP, max_size=9)
