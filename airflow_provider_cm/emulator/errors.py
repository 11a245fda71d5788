"""The one exception that becomes an error envelope."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class RefusedRequestError(Exception):
    """
    An answer of ``{"status": "error", "message": ...}`` with its HTTP status.

    :param status: HTTP status.
    :param message: what the envelope says.
    :param headers: headers to send along, such as ``Retry-After``.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})

    def __reduce__(self) -> tuple[type[RefusedRequestError], tuple[int, str, dict[str, str]]]:
        """Pickle what the constructor takes."""
        return type(self), (self.status, self.message, self.headers)
