"""What a server says of messages, without what was in them.

A refusal may quote the text, the address or the id that it does not like, whole, cut, or in some encoding. So what a
server says about a request with messages is shown word by word: a word that stands anywhere in what was sent is
replaced, and so is everything that does not look like a plain word or number at all.
"""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HIDDEN = "***"
_LONGEST = 4_000  # characters that are looked at; of a longer answer only the beginning is ever shown
_LONGEST_WORD = 24
_CHUNK = re.compile(r"\S+")
_WORD = re.compile(r"[^\W_]+")
_PLAIN = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]{1,9}")
_INDEX = re.compile(r"(?:comments|documents)\[[0-9]+\]")
_ENCODED = re.compile(r"[\\%&@]|[^\x20-\x7e]")  # an escape, an address, or not English
# Words of the API's errors and of this client's, and the commonest of English: they tell nothing of a message.
_WORDS = (
    "a additional additionalproperties address allowed already also an and answer any api are array as at "
    "attachments bad batch bcc be been bigger body but by bytes can cannot cc characters check code comment "
    "comments connection correct denied document documents does duplicate element empty endpoint entity error "
    "exceeded exceeds exist exists expected failed field fields for format forbidden found from gateway "
    "greater has have header headers id in integer invalid is it item items its json large length less limit "
    "long longer match matches max maximum message messages min minimum missing more must name no non none "
    "not null number object of ok on one only or over pattern permission proper properties property quota "
    "quotas read redirected refused request required response right sent server service shorter should "
    "signature size source sources status string subject text than that the then there this thread time "
    "timestamp title to too type unable unavailable unexpected unknown unprocessable unsupported user valid "
    "value values was were when which with without wrong"
)
_HARMLESS = frozenset(_WORDS.split(" "))


class Echoes:
    """Takes out of a server's words what was sent to it.

    :param sent: the request's body, or the ids in its path.
    """

    def __init__(self, sent: bytes | Iterable[str]) -> None:
        self._sent = sent

    def __repr__(self) -> str:
        return "Echoes(***)"

    def __call__(self, text: str) -> str:
        """Return the text with ``***`` in place of each word that tells something of a message.

        :param text: what the server said.
        """
        sent = " ".join(_texts(json.loads(self._sent)) if isinstance(self._sent, bytes) else self._sent).lower()
        short = set(re.findall(r"\b[^\W_]{1,2}\b", sent))
        return _CHUNK.sub(lambda chunk: _shown(chunk[0], sent, short), text[:_LONGEST])


def _shown(chunk: str, sent: str, short: set[str]) -> str:
    if _ENCODED.search(chunk):
        return HIDDEN
    indexes = [found.span() for found in _INDEX.finditer(chunk)]

    def shown(word: re.Match[str]) -> str:
        text, low = word[0], word[0].lower()
        if low in _HARMLESS or any(first <= word.start() < last for first, last in indexes):
            return text
        told = low in short if len(low) < 3 else low in sent
        return HIDDEN if told or len(text) > _LONGEST_WORD or not _PLAIN.fullmatch(text) else text

    return _WORD.sub(shown, chunk)


def _texts(value: Any) -> Iterator[str]:
    """Return all texts and numbers of a JSON value, keys included."""
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            todo += [*each, *each.values()]
        elif isinstance(each, list):
            todo += each
        elif each is not None:
            yield str(each)


def _without_ids(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            _IDS_IN_URL.sub(r"\1" + HIDDEN, each) if isinstance(each, str) else each for each in record.args
        )
    return True


_IDS_IN_URL = re.compile(r"(/sources/[^/\s]+/[^/\s]+/(?:comments|messages)[/?])\S+")
# urllib3 logs each URL at DEBUG, and an id is somebody's ticket or address.
logging.getLogger("urllib3.connectionpool").addFilter(_without_ids)
