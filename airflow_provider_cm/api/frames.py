"""Frames of a traceback, whose variables may hold messages: debuggers and error trackers show them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from airflow_provider_cm.api.errors import CommsMiningError

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")
_R = TypeVar("_R")


def drop_frames(error: BaseException) -> None:
    """Take the frames from an error and from all that caused it.

    :param error: it is changed.
    """
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = each.__context__ = None
        each = each.__cause__


def without_frames(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorate a function that is given messages or their ids: what it raises has none of its frames.

    A mistake in the code, which is an ``Exception`` of another kind, keeps them.

    :param function: the function.
    """

    @functools.wraps(function)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, CommsMiningError):
                raise
            failure = error
        del args, kwargs  # they are variables of this frame
        drop_frames(failure)
        raise failure

    return wrapper
