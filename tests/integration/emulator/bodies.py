"""Random JSON for a schema, and ways to spoil it: small and fast, so that thousands of bodies take seconds."""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    import random

_ODD: list[Any] = [None, True, False, 0, -1, 1.5, 10**30, "", "x", "ü\U0001f600", " ", "x\n", [], [None], {}, {"x": 1}]
_POOL = 60


def _samples(pattern: str) -> list[str]:
    """Return texts that match a pattern, from hypothesis."""
    matches: list[str] = []

    @settings(
        max_examples=_POOL,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.from_regex(pattern))
    def collect(text: str) -> None:
        matches.append(text)

    collect()
    return [text for text in matches if not any(0xD800 <= ord(each) < 0xE000 for each in text)]


_pools: dict[str, list[str]] = {}


class Bodies:
    """
    Makes values.

    :param dice: decides.
    :param components: what schemas refer to.
    """

    def __init__(self, dice: random.Random, components: dict[str, Any]) -> None:
        self._dice = dice
        self._components = components

    def make(self, schema: Any) -> Any:
        """Make a value that a schema most probably allows."""
        while "$ref" in schema:
            kind, name = schema["$ref"].split("/")[-2:]
            schema = self._components[kind][name]
        if "anyOf" in schema:
            return self.make(self._dice.choice(schema["anyOf"]))
        if "enum" in schema:
            return self._dice.choice(schema["enum"])
        kinds = schema.get("type", "object")
        kind = self._dice.choice(kinds) if isinstance(kinds, list) else kinds
        made: Any = getattr(self, f"_{kind}")(schema)
        return made

    def spoil(self, value: Any) -> Any:
        """Change one place of a value."""
        dice = self._dice
        if dice.random() < 0.1 or not isinstance(value, dict | list) or not value:
            return dice.choice(_ODD)
        if isinstance(value, list):
            place: Any = dice.randrange(len(value))
        else:
            place = dice.choice(list(value))
            change = dice.random()
            if change < 0.15:
                value[dice.choice(["more", "", place + " "])] = dice.choice(_ODD)
                return value
            if change < 0.25:
                del value[place]
                return value
        value[place] = self.spoil(value[place])
        return value

    def text(self, value: Any) -> str:
        """Write a value as one of the JSON texts that mean it."""
        return json.dumps(value, ensure_ascii=self._dice.random() < 0.5, indent=self._dice.choice([None, 1]))

    def _null(self, _schema: Any) -> None:
        return None

    def _boolean(self, _schema: Any) -> bool:
        return self._dice.random() < 0.5

    def _integer(self, schema: Any) -> int:
        return self._dice.randint(schema.get("minimum", -5), schema.get("maximum", 2000))

    def _number(self, schema: Any) -> float:
        return self._dice.choice([self._integer(schema), self._dice.uniform(-1e6, 1e6)])

    def _string(self, schema: Any) -> str:
        if pattern := schema.get("pattern"):
            if pattern not in _pools:
                _pools[pattern] = _samples(pattern)
            return self._dice.choice(_pools[pattern])
        longest = min(schema.get("maxLength", 40), 200)
        letters = string.printable + "üß\U0001f600\x00"
        length = self._dice.choice([schema.get("minLength", 0), longest, self._dice.randint(1, longest)])
        return "".join(self._dice.choices(letters, k=length))

    def _array(self, schema: Any) -> list[Any]:
        length = self._dice.randint(schema.get("minItems", 0), min(schema.get("maxItems", 3), 3))
        return [self.make(schema.get("items", {"type": "string"})) for _ in range(length)]

    def _object(self, schema: Any) -> dict[str, Any]:
        required = schema.get("required", ())
        made = {
            name: self.make(rule)
            for name, rule in schema.get("properties", {}).items()
            if name in required or self._dice.random() < 0.5
        }
        more = dict(schema.get("patternProperties", {}))
        if isinstance(schema.get("additionalProperties"), dict):
            more[self._components["schemas"]["OwnerName"]["pattern"]] = schema["additionalProperties"]
        for pattern, rule in more.items():
            for _ in range(self._dice.randint(0, 2)):
                made[self._string({"pattern": pattern})] = self.make(rule)
        return made
