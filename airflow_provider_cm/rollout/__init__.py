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
    from airflow_provider_cm.rollout.actions import Action, Change
    from airflow_provider_cm.rollout.applying import apply
    from airflow_provider_cm.rollout.current_state import observe
    from airflow_provider_cm.rollout.exporting import export
    from airflow_provider_cm.rollout.manifest import Manifest
    from airflow_provider_cm.rollout.manifest_errors import ManifestError, Mistake
    from airflow_provider_cm.rollout.plan_model import Plan, PlanError
    from airflow_provider_cm.rollout.planning import plan
    from airflow_provider_cm.rollout.report import Outcome, Report
    from airflow_provider_cm.rollout.variables import escape

_HOME = {
    "Action": "actions",
    "Change": "actions",
    "Manifest": "manifest",
    "ManifestError": "manifest_errors",
    "Mistake": "manifest_errors",
    "Outcome": "report",
    "Plan": "plan_model",
    "PlanError": "plan_model",
    "Report": "report",
    "apply": "applying",
    "escape": "variables",
    "export": "exporting",
    "observe": "current_state",
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
