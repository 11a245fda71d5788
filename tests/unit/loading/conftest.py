from __future__ import annotations

from tests.unit.api.conftest import plain_environment, serve

__all__ = ["plain_environment", "serve"]
