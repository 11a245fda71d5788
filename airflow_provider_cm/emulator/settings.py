"""
What the emulator does where nobody outside the vendor knows what the real service does.

Every field has a default and says on what evidence it was chosen. ``python -m airflow_provider_cm.emulator
--help`` prints this list, ``--set name=value`` and the admin endpoint change it.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args, get_origin

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from airflow_provider_cm.emulator.dataset_settings import DatasetSettings

_Count = Annotated[int, Field(ge=0)]


class EmulatorSettings(DatasetSettings):
    """
    One emulator's behavior, immutable; :meth:`changed` returns a copy with other values.

    Values may be given as text (``"409"``, ``"true"``, ``"none"``, ``"en,de"``), since they come from a command line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    shapes: Literal["full", "docs"] = "full"
    """Keys of a source in responses: full is what the vendor's contract of 2025 requires, a fact; docs only what
    its pages show for each endpoint."""
    duplicate_put: Literal[400, 409, 422, "upsert"] = 409
    """PUT on a name that exists: an error of this status, or upsert, which changes the fields sent. A guess: no
    evidence but that other conflicts in this API are 409."""
    missing_project: Literal[400, 403, 404] = 404
    """PUT into a project that does not exist. A guess: 403 is as plausible."""
    missing_project_list: Literal[403, 404, "empty"] = 404
    """Listing a project that does not exist. A guess, without evidence."""
    delete_missing: Literal[200, 404] = 404
    """DELETE of a source, dataset or stream that is gone. A guess: the vendor's client forgives 404 after a retry."""
    invalid_name: Literal[400, 404, 422] = 400
    """A project, source or id in the path that breaks the rules of the contract. A guess: schema violations in
    bodies are 400."""
    no_permission: Literal[401, 403, 404] = 403
    """A valid token without the permission. A guess: 403 is conventional, a vendor script met 401, and some
    services hide what is forbidden behind 404."""
    null_field: Literal[400, "ignore"] = 400
    """null in a field other than bucket_id. That it is refused is a fact: the vendor's contract of 2025 allows null
    for bucket_id only. The status is a guess: the contract says 4XX."""
    unknown_field: Literal[400, "ignore"] = 400
    """A field that the API does not know. That it is refused is a fact: the vendor's contract of 2025 allows no
    additional properties. The status is a guess: the contract says 4XX."""
    unknown_bucket: Literal[400, 404, 422, "accept"] = 422
    """A bucket_id that names no bucket of the tenant. A guess: semantic errors elsewhere are 422."""
    languages: Annotated[tuple[str, ...], Field(min_length=1)] = ("en", "de", "xlm", "Multilingual")
    """Accepted values of language. A fact for en, de and xlm, which the vendor's contract of 2025 lists; a guess
    for Multilingual, which only its page names, and which the service may refuse."""
    language_on_update: Literal["refuse", "accept", "ignore"] = "ignore"
    """What an update does with language. The vendor's contract of 2025 allows it; the effect is not documented, so
    ignore is a guess, as are the others."""
    kind_on_update: Literal["refuse", "accept", "ignore"] = "ignore"
    """What an update does with _kind. The vendor's contract of 2025 allows it; the effect is not documented, so
    ignore is a guess, as are the others."""
    transform_tags: tuple[str, ...] = ("generic.0.CONVKER5",)
    """Values of email_transform_tag that the server knows; another one of the right shape is 422, as in the
    vendor's client's tests. The default is the one that its client sends; a guess that there are others."""
    sensitive_properties_update: Literal["replace", "merge"] = "replace"
    """What an update does with the list of sensitive properties. A guess: the natural reading."""
    updated_at_moves: Literal["always", "sent", "changed"] = "always"
    """Which updates move updated_at: every one, those that send a field, or those that change a value. A guess,
    without evidence."""
    names_case_sensitive: bool = True
    """Whether Inbox and inbox are two names. A guess: upper case is allowed, no more is known."""
    default_title: Literal["empty", "name"] = "empty"
    """Title of a source or project made without one: an empty text or its name. A guess: the vendor's client needs
    a text."""
    timestamp_digits: Literal[0, 1, 2, 3, 4, 5, 6, "trim"] = 6
    """Digits after the second; trim drops trailing zeros. The vendor's pages show 6; a guess that this holds for
    all, since a vendor script met 5."""
    max_title: _Count = 128
    """Longest title, in characters. A fact for responses, from the vendor's contract of 2025; a guess for requests,
    for which only its schema of 2021 says so."""
    max_description: _Count = 16384
    """Longest description, in characters. A fact, from the vendor's contract of 2025."""
    max_sensitive_properties: _Count = 4096
    """Most sensitive properties of one source. A fact, from the vendor's contract of 2025."""
    bad_message: Literal["refuse", "skip"] = "refuse"
    """A message in a batch that breaks the rules: the batch is refused whole, or the message is left out without a
    word. A guess: the vendor's client sends a refused batch again one by one."""
    duplicate_messages: Literal["last", "first", 400, 409, 422] = "last"
    """The same id twice in a batch: as if sent one after the other, the later ones ignored, or an error of this
    status. A guess: the vendor's client refuses files with duplicates unless an option allows them."""
    omitted_message_field: Literal["clear", "keep"] = "clear"
    """An optional field of a message that an overwrite leaves out is cleared or kept. A guess: the vendor's page
    says that the message is overwritten."""
    message_without_timestamp: Literal["now", 400, 422] = "now"
    """A message without a timestamp gets the time of its arrival, or is an error of this status. The vendor's
    contract of 2025 does not require one, its page and its schema of 2021 do; what it gets is a guess."""
    naive_timestamp: Literal["utc", 400, 422] = "utc"
    """A timestamp without an offset is UTC, or an error of this status. That it is allowed is a fact, from the
    vendor's contract of 2025; that it is UTC is a guess, after a page on its activities."""
    range_end: Literal["inclusive", "exclusive"] = "inclusive"
    """Whether to_timestamp, and the maximum of a filter, belong to the range. A guess: the vendor's client's tests
    say so, a document made from its contract says the opposite."""
    billed_text: Literal["all", "body"] = "all"
    """Which texts of a message are billed when they change: subject and signature too, or the body only. A guess:
    the vendor's page says text."""
    max_batch: Annotated[int, Field(ge=1)] = 16384
    """Most messages in one sync; more are 400. A fact from the vendor's page; the status is a guess."""
    max_raw_email_batch: Annotated[int, Field(ge=1)] = 4096
    """Most emails in one sync-raw-emails; more are 400. A fact, from a description in the vendor's contract of 2025,
    though its schema of 2021 says 16384; the status is a guess."""
    max_delete_ids: Literal[32, 128] = 32
    """Most ids in one delete of messages; more are 400. A guess: the vendor's client keeps to 32 as the maximum
    that the API permits, a document made from its contract says 128."""
    message_quota: _Count | None = None
    """Most messages a tenant may hold; a batch that would pass it is 403, and nothing of it is stored. That there
    is such a quota is a fact, from the vendor's contract of 2025; the answer is a guess."""
    max_body_bytes: Annotated[int, Field(ge=1)] | None = None
    """Longest request body, in bytes; a longer one is 413. A guess: no limit is known."""
    statistics_lag_s: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = 0.0
    """Seconds until the statistics of a source count a message that was created; a delete counts at once. A guess:
    reading a message works at once in the vendor's client's tests, counting is not tested."""
    invalid_client: Literal[400, 401] = 400
    """Status of the token endpoint's invalid_client. A guess: RFC 6749 allows both."""
    token_lifetime: Annotated[int, Field(ge=1)] = 3600
    """Seconds a minted token is good for. A guess: one hour is what UiPath's forum shows."""
    source_quota: _Count | None = None
    """Most sources a tenant may hold; one more is 403 'quotas exceeded'. That there is such a quota is a fact, from
    the vendor's contract of 2025; the answer is a guess, after one that a vendor script met."""
    rate_limit: Annotated[int, Field(ge=1)] | None = None
    """Requests a minute for each token; one more is 429 with Retry-After. A guess: the vendor publishes no limit
    for this API."""
    latency_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Milliseconds to wait before each answer, outside Server-Timing, as a slow network would. No guess: it is for
    your tests."""
    read_lag_s: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = 0.0
    """Seconds until lists and reads show a create, update or delete, as from a replica that lags behind; writes
    themselves act at once. A guess: nothing is known of replicas."""
    date_offset_s: Annotated[float, Field(ge=-31536000, le=31536000, allow_inf_nan=False)] = 0.0
    """Seconds by which the Date header is ahead of the service's own timestamps, as with a gateway whose clock
    differs; negative if it is behind. A guess, without evidence."""

    @field_validator("*", mode="before")
    @classmethod
    def _read_text(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        text = value.strip()
        if isinstance(cls.model_fields[info.field_name or ""].default, tuple):
            return tuple(part.strip() for part in text.split(",") if part.strip())
        if text.isdecimal():
            return int(text)
        return None if text.lower() == "none" else text

    def changed(self, **changes: object) -> EmulatorSettings:
        """
        Return a copy with some values replaced.

        :param changes: setting names and their new values.
        :raises ValueError: a name is unknown or a value not allowed; the message names both.
        """
        try:
            return EmulatorSettings.model_validate({**self.model_dump(), **changes})
        except ValidationError as error:
            raise ValueError(explain(error)) from None


def explain(error: ValidationError) -> str:
    """Turn pydantic's report into one line that names each wrong field, what it held and what it should be."""
    mistakes = []
    for item in error.errors(include_url=False):
        where = ".".join(str(part) for part in item["loc"]) or "value"
        if item["type"] == "extra_forbidden":
            mistakes.append(f"{where}: there is no such field")
        elif item["type"] == "missing":
            mistakes.append(f"{where}: is required")
        else:
            mistakes.append(f"{where}: {item['msg']} (got {_short(item['input'])})")
    return "; ".join(mistakes)


def describe() -> list[tuple[str, str, str, str]]:
    """List every setting as (name, allowed values, default, description)."""
    rows = []
    fields = EmulatorSettings.model_fields.items()
    # Those of sources and messages first.
    for name, field in sorted(fields, key=lambda item: item[0] in DatasetSettings.model_fields):
        default = ",".join(field.default) if isinstance(field.default, tuple) else str(field.default).lower()
        rows.append((name, _allowed(field.annotation), default, " ".join((field.description or "").split())))
    return rows


def _allowed(annotation: object) -> str:
    if get_origin(annotation) is Literal:
        return " | ".join(str(value) for value in get_args(annotation))
    if annotation is bool:
        return "true | false"
    if get_origin(annotation) is tuple:
        return "a,b,c"
    return "a number or none" if type(None) in get_args(annotation) else "a number"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
