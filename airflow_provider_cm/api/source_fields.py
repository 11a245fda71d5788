"""The fields of a source that can be set, declared once: their names and types, and those that an update may send.

Importing this module is cheap, because operators need it whenever a DAG file is parsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence


class UpdatableFields(TypedDict, total=False):
    """The fields that an update can change. A field that is missing or ``None`` is not sent.

    :param title: one line for people.
    :param description: a longer text.
    :param should_translate: whether messages are translated where required.
    :param sensitive_properties: the properties to hide from users without the privilege to see them; an update
        replaces the whole list.
    :param bucket_id: ID of a bucket whose data is loaded into the source.
    :param email_transform_tag: selects how the bucket's e-mails become messages.
    """

    title: str | None
    description: str | None
    should_translate: bool | None
    sensitive_properties: Sequence[str] | None
    bucket_id: str | None
    email_transform_tag: str | None


class SettableFields(UpdatableFields, total=False):
    """All fields that a create can set: those of :class:`UpdatableFields`, and two more.

    The vendor's contract accepts ``language`` and ``_kind`` in an update too, but its effect is unknown, so this client
    sends them in creates only.

    :param language: ``en`` (the default) or ``Multilingual``, by the vendor's page.
    :param kind: the API's ``_kind``, such as ``call`` or ``chat``.
    """

    language: str | None
    kind: str | None


SETTABLE: Final = {name: "_kind" if name == "kind" else name for name in SettableFields.__annotations__}
"""Each settable field: its name in Python, and its name in the API's JSON."""

CREATE_ONLY: Final = frozenset(SettableFields.__annotations__) - frozenset(UpdatableFields.__annotations__)
"""The fields that this client sends in creates only, by their names in Python."""
