"""Arguments as tasks give them: what is wrong names the argument."""

from __future__ import annotations

import pytest

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.errors import ConfigurationError


@pytest.mark.parametrize("source_id", ["None", " ", 1.2e16, "not an id"])
def test_an_id_that_is_none_names_the_argument(source_id: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^source_id: "):
        arguments.source_address(arguments.NOT_GIVEN, arguments.NOT_GIVEN, source_id)
