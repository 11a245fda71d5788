"""Desired state against actual state: a reviewed manifest, a plan, and what applying it did. It never imports Airflow.

.. code-block:: python

    from airflow_provider_cm.rollout import Manifest, apply, observe, plan

    manifest = Manifest.parse(Path("sources.yaml").read_text(), {"project": "acme-prod"}, filename="sources.yaml")
    planned = plan(manifest, observe(manifest, sources), target=sources.session.endpoint)
    print(planned.render())
    print(apply(planned, sources).summary())

Names are loaded on first use, so that catching an error does not cost the import of ``pydantic``. The modules are
called otherwise than the functions they hold: a module named ``plan`` would take the function's place in this package
as soon as anything imported it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_cm.rollout.actions import Action, Change, Plan, PlanError
    from airflow_provider_cm.rollout.applying import apply
    from airflow_provider_cm.rollout.exporting import export
    from airflow_provider_cm.rollout.manifest import Manifest
    from airflow_provider_cm.rollout.mistakes import ManifestError, Mistake
    from airflow_provider_cm.rollout.observing import observe
    from airflow_provider_cm.rollout.planning import plan
    from airflow_provider_cm.rollout.report import Outcome, Report
    from airflow_provider_cm.rollout.variables import escape

_HOME = {
    "Action": "actions",
    "Change": "actions",
    "Manifest": "manifest",
    "ManifestError": "mistakes",
    "Mistake": "mistakes",
    "Outcome": "report",
    "Plan": "actions",
    "PlanError": "actions",
    "Report": "report",
    "apply": "applying",
    "escape": "variables",
    "export": "exporting",
    "observe": "observing",
    "plan": "planning",
}

__all__ = [
    "Action",
    "Change",
    "Manifest",
    "ManifestError",
    "Mistake",
    "Outcome",
    "Plan",
    "PlanError",
    "Report",
    "apply",
    "escape",
    "export",
    "observe",
    "plan",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
