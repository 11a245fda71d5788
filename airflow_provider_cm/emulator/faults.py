"""
Faults: which requests are to go wrong, how often, when and how.

A :class:`Fault` is a plain description; :class:`Faults` holds the active ones and decides for each request which one it
meets. :mod:`airflow_provider_cm.emulator.fault_middleware` carries them out. In process, on the command line and at the
admin endpoint a fault says the same things in the same words::

    server.faults.add("503", "PUT", "*/sources/*", times=2)
    python -m airflow_provider_cm.emulator --fault 'PUT */sources/* 503 times=2'
    POST /_emulator/faults {"kind": "503", "method": "PUT", "path": "*/sources/*", "times": 2}
"""

from __future__ import annotations

import random
import re
import secrets
import shlex
import threading
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.settings import explain

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.emulator.tokens import Grant

Json = dict[str, Any]
When = Literal["before", "after"]

_STATUS = re.compile(r"[45]\d\d")
# What happens, when it happens unless said otherwise, and the options that the kind alone understands.
_Kind = tuple[str, When, tuple[str, ...]]
ANY_STATUS: _Kind = (
    (
        "the API's error envelope with this status, 400 to 599; retry_after=SECONDS sends Retry-After, and date=true "
        "makes it an HTTP date; html=true answers a gateway's page instead"
    ),
    "before",
    ("retry_after", "date", "html"),
)
KINDS: dict[str, _Kind] = {
    "slow-start": ("the real answer, SECONDS late: seconds=5", "before", ("seconds",)),
    "slow-body": (
        "the real answer, CHUNK bytes at a time with SECONDS between them: seconds=0.5 chunk=1",
        "after",
        ("seconds", "chunk"),
    ),
    "wrong-envelope": ("a body that contradicts the status: status=200, or 404 with status ok", "before", ("status",)),
    "empty": ("no body: status=200", "before", ("status",)),
    "truncated": ("half of the body that Content-Length promises, and the connection is closed", "after", ()),
    "no-answer": ("the connection is closed without an answer", "before", ()),
    "html": ("a web page: status=200", "before", ("status",)),
    "redirect": ("to=URL (required) with status=302", "before", ("to", "status")),
    "revoked-token": ("401; the token is refused from now on", "before", ()),
    "expired-token": ("401; the minted token has expired from now on, and a new one works", "before", ()),
    "quota": ("403 quotas exceeded", "before", ()),
    "odd-json": (
        (
            "the real answer with one more field in the envelope and in each source: odd=surrogate, nul, big-integer, "
            "nan or infinity; odd=timing is a Server-Timing of 400 digits instead"
        ),
        "after",
        ("odd",),
    ),
    "endless": ("JSON that never ends, as long as somebody reads it", "before", ()),
}
_OPTIONS = ("retry_after", "date", "html", "seconds", "chunk", "status", "to", "odd")
_PLAIN = re.compile(r"""[^\s'"\\]+""")
_DEFAULTS: dict[str, dict[str, object]] = {
    "slow-start": {"seconds": 5.0},
    "slow-body": {"seconds": 0.5, "chunk": 1},
    "wrong-envelope": {"status": 200},
    "empty": {"status": 200},
    "html": {"status": 200},
    "redirect": {"status": 302},
    "odd-json": {"odd": "surrogate"},
}

_Text = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]
_Seconds = Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)]


class Fault(BaseModel):
    """
    One fault; immutable, and validated as a whole when it is made.

    :param kind: what happens (see :data:`KINDS`).
    :param method: HTTP method, or ``*`` for any.
    :param path: pattern for the decoded path, in which ``*`` stands for any text, slashes included.
    :param tenant: path of a tenant, such as ``/``; the token endpoint belongs to none.
    :param skip: how many matching requests pass unharmed first.
    :param times: how many matching requests are hit; without it one, and with ``probability`` any number.
    :param probability: chance of each matching request to be hit.
    :param seed: makes the choice repeatable; made up, and shown, if not given.
    :param when: ``before`` for an answer to a request that is not carried out, ``after`` for one that is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: _Text
    method: Annotated[str, Field(pattern=r"^([A-Z]+|\*)$")] = "*"
    path: Annotated[str, Field(pattern=r"^[/*]")] = "*"
    tenant: str | None = None
    skip: Annotated[int, Field(ge=0)] = 0
    times: Annotated[int, Field(ge=1)] | None = None
    probability: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None
    when: When = "before"
    retry_after: _Seconds | None = None
    date: bool = False
    html: bool = False
    seconds: _Seconds | None = None
    chunk: Annotated[int, Field(ge=1)] | None = None
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    to: Annotated[str, Field(min_length=1, pattern=r"^[\x21-\x7e]+$")] | None = None
    odd: Literal["surrogate", "nul", "big-integer", "nan", "infinity", "timing"] | None = None

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in KINDS and not _STATUS.fullmatch(kind):
            known = ", ".join(KINDS)
            raise ValueError(f"should be a status from 400 to 599 or one of {known}")
        return kind

    @field_validator("method", mode="before")
    @classmethod
    def _upper(cls, method: object) -> object:
        return method.upper() if isinstance(method, str) else method

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: object) -> object:
        kind = str(values.get("kind")) if isinstance(values, dict) else ""
        if not isinstance(values, dict) or (kind not in KINDS and not _STATUS.fullmatch(kind)):
            return values
        present = {name: value for name, value in values.items() if value is not None}
        if present.get("probability") is None:
            present.setdefault("times", 1)
            if "seed" in present:
                raise ValueError("seed goes with probability")
        else:
            present.setdefault("seed", secrets.randbits(32))
        _, when, own = KINDS.get(kind, ANY_STATUS)
        foreign = [name for name in _OPTIONS if name in present and name not in own and present[name] is not False]
        if foreign:
            raise ValueError(f"{kind} has no option {', '.join(foreign)}")
        if kind == "redirect" and "to" not in present:
            raise ValueError("redirect needs the option to=URL")
        return {"when": when, **_DEFAULTS.get(kind, {}), **present}

    @classmethod
    def make(cls, **values: object) -> Fault:
        """Make a fault; a ``ValueError`` says in one line all that is wrong with it."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ValueError(explain(error).replace("Value error, ", "")) from None

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read ``[METHOD PATH] KIND [option=value ...]``, as the command line has it."""
        usage = f"{text!r} should be '[METHOD PATH] KIND [option=value ...]'"
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise ValueError(f"{usage}: {error}") from None
        number = next((index for index, word in enumerate(words) if re.match(r"[a-z_]+=", word)), len(words))
        options = dict(word.partition("=")[::2] for word in words[number:])
        reports = all("=" in word for word in words[number:]) and len(options) == len(words) - number
        if number not in (1, 3) or not reports or "kind" in options:
            raise ValueError(usage)
        if number == 3:
            options |= {"method": words[0], "path": words[1]}
        return cls.make(kind=words[number - 1], **options)

    def shown(self) -> Json:
        """Return it as JSON, without the options that it leaves open."""
        idle = {name for name in ("skip", "date", "html") if not getattr(self, name)}
        return self.model_dump(exclude_none=True, exclude=idle)

    def __str__(self) -> str:
        """Write it as the command line has it."""
        output = self.shown()
        words = [output.pop("method"), output.pop("path"), output.pop("kind")]
        words += [f"{name}={_text(value)}" for name, value in output.items()]
        return " ".join(word if _PLAIN.fullmatch(word) else shlex.quote(word) for word in words)

    def matches(self, method: str, path: str, tenant: str, grant: Grant | None) -> bool:
        """Return whether it applies to a request; faults of a token apply only to requests with such a token."""
        if self.kind == "revoked-token" and grant is None:
            return False
        if self.kind == "expired-token" and (grant is None or grant.expires_at is None):
            return False
        if self.method not in ("*", method) or self.tenant not in (None, tenant):
            return False
        pattern = ".*".join(re.escape(part) for part in self.path.split("*"))
        return re.fullmatch(pattern, path, re.DOTALL) is not None


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).removesuffix(".0")


class _Armed:
    """A fault in force: how often it has yet to strike, and its own dice."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.skip = fault.skip
        self.times = fault.times
        self._dice = random.Random(fault.seed)  # noqa: S311  repeatable, not secret

    def strikes(self) -> bool:
        if self.skip:
            self.skip -= 1
            return False
        if self.fault.probability is not None and self._dice.random() >= self.fault.probability:
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Faults:
    """
    The faults in force; the oldest that matches a request and strikes is the one that it meets.

    :param find_tenant: raises for a tenant that is not there.
    """

    def __init__(self, find_tenant: Callable[[str], object]) -> None:
        self._find_tenant = find_tenant
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []

    def add(self, kind: str | int, method: str = "*", path: str = "*", **options: object) -> Fault:
        """
        Make requests fail from now on.

        :param kind: a status such as ``503``, or a name such as ``truncated`` (see :data:`KINDS`).
        :param method: HTTP method, or ``*`` for any.
        :param path: pattern for the path, such as ``*/sources/acme-dev/*``; ``*`` matches slashes too.
        :param options: the other fields of :class:`Fault`: ``times``, ``probability``, ``seed``, ``skip``, ``when``,
            ``tenant``, and what the kind understands.
        :return: the fault, complete.
        :raises ValueError: it makes no sense; the message says why.
        """
        fault = Fault.make(kind=kind, method=method, path=path, **options)
        self.put(fault)
        return fault

    def put(self, fault: Fault) -> None:
        """Put a fault into force."""
        if fault.tenant is not None:
            try:
                self._find_tenant(fault.tenant)
            except RefusedRequestError as error:
                raise ValueError(error.message) from None
        with self._lock:
            self._armed.append(_Armed(fault))

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._armed.clear()

    def remaining(self) -> list[Fault]:
        """List the faults still in force, each with the rest of its ``skip`` and ``times``; empty if none is."""
        with self._lock:
            return [each.fault.model_copy(update={"skip": each.skip, "times": each.times}) for each in self._armed]

    def take(self, method: str, path: str, tenant: str, grant: Grant | None) -> Fault | None:
        """Return the fault that applies to a request, and count it."""
        with self._lock:
            for armed in self._armed:
                if armed.fault.matches(method, path, tenant, grant) and armed.strikes():
                    if armed.times == 0:
                        self._armed.remove(armed)
                    return armed.fault
        return None

    def __bool__(self) -> bool:
        """Return whether any is in force."""
        return bool(self._armed)
