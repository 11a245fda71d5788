"""The garbage collector is paused for a while, and is afterwards as it was."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from airflow_provider_cm.api.garbage import uncollected
from airflow_provider_cm.rollout import Manifest, ManifestError, PlanError, plan

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = "https://cloud.uipath.com/acme/dev/reinfer_"


@pytest.fixture(params=[True, False], ids=["collecting", "not collecting"])
def collecting(request: pytest.FixtureRequest) -> Iterator[bool]:
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


def test_it_is_paused_and_then_as_before(collecting: bool) -> None:
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled() == collecting


def test_a_mistake_leaves_it_as_before(collecting: bool) -> None:
    with pytest.raises(ManifestError):
        Manifest.parse({"project": "acme-dev", "sauces": []})
    assert gc.isenabled() == collecting
    manifest = Manifest.parse({"project": "acme-dev", "sources": [{"name": "inbox"}]})
    with pytest.raises(PlanError):
        plan(manifest, [], target=TARGET, prune=True)
    assert gc.isenabled() == collecting
