"""Operators for messages: load a few that are at hand, delete some by id.

Loads of any size from a database or from files are transfers (:mod:`airflow_provider_cm.transfers`); rows that Python
code makes are loaded by ``@task.load_messages``. What these operators are given does not appear among the rendered
templates of a task, since messages and their ids are somebody's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.errors import ConfigurationError, ConflictError, NotFoundError
from airflow_provider_cm.api.frames import without_frames
from airflow_provider_cm.exceptions import task_errors
from airflow_provider_cm.operators.base import CommsMiningOperator
from airflow_provider_cm.operators.loading import BaseLoadOperator
from airflow_provider_cm.operators.unshown import Unshown, UnshownArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.sdk import XComArg


@without_frames
def _items(value: object, field: str, noun: str, kind: type | tuple[type, ...]) -> list[Any]:
    """Return the items of an argument whose values no error may show."""
    if isinstance(value, Unshown):
        value = value.value
    value = arguments.given(value, field)
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise ConfigurationError(
            f"{field}: it is not a list of {noun} but a {type(value).__name__} (where a template renders it, the DAG "
            "needs render_template_as_native_obj=True)"
        )
    items = list(value)
    for number, item in enumerate(items):
        if not isinstance(item, kind) or not item:
            raise ConfigurationError(f"{field}[{number}]: it is a {type(item).__name__}; expected a list of {noun}")
    return items


class LoadMessagesOperator(BaseLoadOperator):
    """Load messages that are at hand: a list in the DAG file, or another task's output.

    N messages cost ``ceil(N / batch_size)`` requests, and two that count what the source holds. Running it again
    changes nothing and costs nothing, since a message is known by its id.

    :param messages: rows for the mapping, or the API's comment objects; or another task's output, which Airflow keeps
        as that task's XCom. Not rendered, and not shown among the rendered templates.
    """

    messages = UnshownArgument("messages")
    parsers = {  # noqa: RUF012  # declared in the base class
        "messages": partial(_items, noun="objects", kind=Mapping),
        **BaseLoadOperator.parsers,
    }
    template_fields: Sequence[str] = tuple(parsers)

    def __init__(self, *, messages: Sequence[Mapping[str, Any]] | XComArg, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.messages = messages
        self.check_literals()

    def check_together(self) -> None:
        """Judge the messages too, if they are here."""
        super().check_together()
        if isinstance(self.messages, Unshown):
            self.argument("messages")

    def rows(self, context: Any) -> Iterator[Mapping[str, Any]]:
        """Return the messages, one after the other."""
        yield from self.argument("messages")


class DeleteMessagesOperator(CommsMiningOperator):
    """Delete messages by their ids, for good.

    One request for each 32 ids. Unless ``delete_annotated`` is set, one more for each id, to see whether somebody
    annotated the message: what people taught goes with it. Messages that are gone already are no error.

    :param project: the project. (templated)
    :param source_name: the source. (templated)
    :param ids: ids of the messages in the source. (templated, and not shown among the rendered templates)
    :param max_deletes: how many may be deleted; with one more id, none is. (templated)
    :param delete_annotated: delete messages with annotations as well, and do not look; ``False`` by default.
        (templated)
    :param comms_mining_conn_id: the connection. (templated)
    :return: ``{"requested": ..., "deleted": ..., "annotated": ..., "missing": ...}``: numbers of ids, of those that
        were deleted, left alone because of annotations, and not there when they were looked for. With
        ``delete_annotated`` nobody looks, so ``deleted`` holds those that were gone.
    """

    ids = UnshownArgument("ids", templated=True)
    parsers = {  # noqa: RUF012  # declared in the base class
        "project": arguments.project,
        "source_name": arguments.source_name,
        "ids": partial(_items, noun="texts", kind=str),
        "max_deletes": partial(arguments.integer, minimum=0),
        "delete_annotated": arguments.boolean,
        **CommsMiningOperator.parsers,
    }
    template_fields: Sequence[str] = tuple(parsers)

    def __init__(
        self,
        *,
        project: str,
        source_name: str,
        ids: Sequence[str] | str | XComArg,
        max_deletes: int | str,
        delete_annotated: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project = project
        self.source_name = source_name
        self.ids = ids
        self.max_deletes = max_deletes
        self.delete_annotated = delete_annotated
        self.check_literals()

    def check_together(self) -> None:
        """Judge the ids, and that there are not too many, as far as they are known."""
        if isinstance(self.ids, Unshown):
            self.argument("ids")
            if self.is_settled("max_deletes"):
                self._wanted()

    def execute(self, context: Any) -> dict[str, int]:
        """Look where asked, delete.

        :raises CommsMiningFailure: when trying again would end the same way.
        :raises CommsMiningRetryable: when trying again may help; deleting again does no harm.
        """
        with task_errors():
            project, source_name = self.argument("project"), self.argument("source_name")
            self.link_project(context, project)
            result = self._delete(project, source_name, self._wanted())
            self.log.info(
                "Deleted %(deleted)d of %(requested)d messages; %(annotated)d have annotations and were left alone, "
                "%(missing)d were not there",
                result,
            )
            self.emit_events(context, result, [(project, source_name, {})])
        return result

    @without_frames
    def _wanted(self) -> list[str]:
        ids, most = list(dict.fromkeys(self.argument("ids"))), self.argument("max_deletes")
        if len(ids) > most:
            raise ConfigurationError(
                f"max_deletes: there are {len(ids)} ids and at most {most} messages may be deleted, so none was; check "
                "the ids, or allow more"
            )
        return ids

    @without_frames
    def _delete(self, project: str, source_name: str, ids: list[str]) -> dict[str, int]:
        from airflow_provider_cm.api.messages import MAX_DELETES

        result = {"requested": len(ids), "deleted": 0, "annotated": 0, "missing": 0}
        look = not self.argument("delete_annotated")
        for start in range(0, len(ids), MAX_DELETES):
            chunk = ids[start : start + MAX_DELETES]
            free = [each for each in chunk if self._may_go(project, source_name, each, result)] if look else chunk
            result["deleted"] += self.hook.messages.delete(project, source_name, free)
        return result

    def _may_go(self, project: str, source_name: str, message_id: str, result: dict[str, int]) -> bool:
        try:
            annotated = self.hook.messages.get(project, source_name, message_id).get("has_annotations")
        except NotFoundError:
            if not result["missing"]:
                self.hook.sources.get(project, source_name)  # else the source is what is not there
            result["missing"] += 1
            return False
        if not isinstance(annotated, bool):
            raise ConflictError(
                "the server does not say whether messages have annotations, so this and the following ones were not "
                "deleted; set delete_annotated if annotated messages may go"
            )
        result["annotated"] += annotated
        return not annotated
