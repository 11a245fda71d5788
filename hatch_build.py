"""The example DAGs travel in the wheel, beside the package; in the repository they stay where people look for them."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ExampleDags(BuildHookInterface):  # type: ignore[type-arg]
    """Adds them to every wheel but that of an editable installation, which would copy them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Say what is to be put where.

        :param version: ``standard`` or ``editable``.
        :param build_data: what hatchling is to do.
        """
        if version != "editable":
            build_data["force_include"]["example_dags"] = "airflow_provider_cm/example_dags"
