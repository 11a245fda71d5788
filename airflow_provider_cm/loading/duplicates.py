"""Which ids a load has met, in bounded memory."""

from __future__ import annotations

from array import array

_MASK = 2**64 - 1


class MetIds:
    """The ids of a load, each as 64 bits of its hash, with the row that it was first met in.

    A million ids take 24 MiB, ten million 192 MiB, and half as much more for a moment, while the table grows. That two
    of ten million different ids have the same 64 bits has a chance of about 1 in 400,000.
    """

    def __init__(self) -> None:
        self._bits = 12
        self._count = 0
        self._new_table()

    def __len__(self) -> int:
        return self._count

    def meet(self, message_id: str, row: int) -> int:
        """Note an id.

        :param message_id: the id.
        :param row: the number of its row, from 1.
        :return: the row that it was met in before, 0 if it is new.
        """
        key = hash(message_id) & _MASK or 1  # 0 marks a slot that is free
        keys, mask = self._keys, self._last
        at = key & mask
        while keys[at]:
            if keys[at] == key:
                return self._rows[at]
            at = (at + 1) & mask
        keys[at], self._rows[at] = key, row
        self._count += 1
        if self._count * 3 > mask * 2:
            self._grow()
        return 0

    def _new_table(self) -> None:
        self._last = (1 << self._bits) - 1
        self._keys = array("Q", [0]) * (1 << self._bits)
        self._rows = array("I", [0]) * (1 << self._bits)

    def _grow(self) -> None:
        keys, rows = self._keys, self._rows
        self._bits += 1
        self._new_table()
        for key, row in zip(keys, rows, strict=True):
            if key:
                at = key & self._last
                while self._keys[at]:
                    at = (at + 1) & self._last
                self._keys[at], self._rows[at] = key, row
