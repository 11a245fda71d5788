"""
Seed files: the tenants, projects, buckets and sources that an emulator starts with.

A seed file is YAML or JSON (by its ending) and takes the place of the default tenants::

    tenants:
      - path: /acme/dev/reinfer_          # or / for a tenant at the root
        projects:
          - name: acme-dev
            title: Development            # optional, as is description
            buckets:
              - name: mailbox
                id: 0123456789abcdef      # optional; quote ids made of digits only
            sources:
              - name: support-inbox
                title: Support inbox      # and any other field of a create: description, language,
                bucket_id: 0123456789abcdef   # should_translate, sensitive_properties, bucket_id, _kind ...
                id: 18ba5ce699f8da1f      # optional
                messages: 12              # optional: how many messages it holds
        tokens:                           # optional: developer tokens that no other tenant knows
          - name: dev-loader
            value: some-token
            role: admin                   # or loader, viewer, none
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.operations import check_body, check_name
from airflow_provider_cm.emulator.permissions import ROLES
from airflow_provider_cm.emulator.settings import EmulatorSettings, explain
from airflow_provider_cm.emulator.source_fields import source_fields

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from airflow_provider_cm.emulator.records import ProjectFields, SourceFields
    from airflow_provider_cm.emulator.state import State
    from airflow_provider_cm.emulator.tenant import Tenant

_TENANT_PATH = re.compile(r"/|(/[A-Za-z0-9_.~-]+)+")
_Id = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
# Their names are their values, too.
_OWN_TOKENS = ("emulator-admin", "emulator-viewer")
_PROJECT_NAME = ("createProject", "name")
_BUCKET_NAME = ("createBucket", "bucket_name")
_SOURCE_NAME = ("createSource", "source_name")


def _name(place: tuple[str, str]) -> AfterValidator:
    """Hold a name to the rules for the path parameter that it is to be."""

    def check(name: str) -> str:
        try:
            check_name(name, *place, EmulatorSettings())
        except RefusedRequestError as error:
            raise ValueError(error.message) from None
        return name

    return AfterValidator(check)


class SeedError(ValueError):
    """A seed file that can't be used; the message is one line with every mistake."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Bucket(_Part):
    name: Annotated[str, _name(_BUCKET_NAME)]
    id: _Id | None = None
    title: str | None = None


class _Source(_Part):
    # The other keys are the API's own fields, and are checked by the API's own rules.
    model_config = ConfigDict(extra="allow", strict=True)

    name: Annotated[str, _name(_SOURCE_NAME)]
    id: _Id | None = None
    messages: Annotated[int, Field(ge=0)] = 0

    def fields(self, settings: EmulatorSettings) -> SourceFields:
        body = check_body({"source": self.model_extra or {}}, "createSource", settings)
        return source_fields(body["source"], settings, update=False)


class _Project(_Part):
    name: Annotated[str, _name(_PROJECT_NAME)]
    title: str | None = None
    description: str | None = None
    buckets: list[_Bucket] = []
    sources: list[_Source] = []

    def fields(self, settings: EmulatorSettings) -> ProjectFields:
        values = {"title": self.title, "description": self.description}
        texts = {key: text for key, text in values.items() if text is not None}
        fields: ProjectFields = check_body({"project": texts}, "createProject", settings)["project"]
        return fields


class _Token(_Part):
    name: Annotated[str, Field(min_length=1)]
    value: Annotated[str, Field(pattern=r"^[\x21-\x7e]+$")]
    role: Literal["admin", "loader", "viewer", "none"] = "admin"


class _Tenant(_Part):
    path: str
    projects: list[_Project] = []
    tokens: list[_Token] = []


class Seed(_Part):
    """What a seed file says."""

    tenants: Annotated[list[_Tenant], Field(min_length=1)]

    @classmethod
    def load(cls, path: Path, settings: EmulatorSettings | None = None) -> Seed:
        """
        Read a seed file.

        :param path: a ``.json`` file, or YAML with any other ending.
        :param settings: the rules its sources must keep.
        :raises SeedError: it is not a seed file; the message names the file and all mistakes.
        :raises OSError: it can't be read.
        """
        document = _parse(path)
        try:
            seed = cls.model_validate(document)
        except ValidationError as error:
            raise SeedError(f"{path}: {explain(error)}") from None
        if mistakes := list(seed._mistakes(settings or EmulatorSettings())):
            raise SeedError(f"{path}: {'; '.join(mistakes)}")
        return seed

    def fill(self, state: State) -> None:
        """Put what the file says into an empty state."""
        for part in self.tenants:
            tenant = state.add_tenant(part.path)
            for token in part.tokens:
                state.tokens.add(token.name, token.value, ROLES[token.role], tenant=part.path)
            for project in part.projects:
                _fill_project(tenant, project, state.settings)
            # After all buckets: a source may load from another project's.
            for project in part.projects:
                _fill_sources(tenant, project, state.settings)

    def _mistakes(self, settings: EmulatorSettings) -> Iterable[str]:
        yield from _repeated("tenants", [tenant.path for tenant in self.tenants])
        tokens = [token for tenant in self.tenants for token in tenant.tokens]
        yield from _repeated("name of token", [*_OWN_TOKENS, *(token.name for token in tokens)])
        yield from _repeated("value of token", [*_OWN_TOKENS, *(token.value for token in tokens)])
        for number, tenant in enumerate(self.tenants):
            where = f"tenants.{number}"
            if not _TENANT_PATH.fullmatch(tenant.path) or tenant.path.startswith("/_emulator"):
                yield f"{where}.path: '{tenant.path}' should be / or such as /acme/dev/reinfer_"
            yield from _tenant_mistakes(tenant, where, settings)


def _tenant_mistakes(tenant: _Tenant, where: str, settings: EmulatorSettings) -> Iterable[str]:
    projects = tenant.projects
    yield from _repeated(f"{where}.projects", [project.name for project in projects])
    yield from _repeated(f"{where}: id of source", [each.id for part in projects for each in part.sources])
    yield from _repeated(f"{where}: id of bucket", [each.id for part in projects for each in part.buckets])
    buckets = {bucket.id for project in projects for bucket in project.buckets}
    for number, project in enumerate(projects):
        inner = f"{where}.projects.{number}"
        try:
            project.fields(settings)
        except RefusedRequestError as error:
            yield f"{inner}: {error.message}"
        yield from _repeated(f"{inner}.buckets", [bucket.name for bucket in project.buckets])
        yield from _repeated(f"{inner}.sources", [source.name for source in project.sources])
        for index, source in enumerate(project.sources):
            try:
                bucket_id = source.fields(settings).get("bucket_id")
            except RefusedRequestError as error:
                yield f"{inner}.sources.{index}: {error.message}"
                continue
            if bucket_id is not None and bucket_id not in buckets and settings.unknown_bucket != "accept":
                yield f"{inner}.sources.{index}: no bucket of this tenant has the id '{bucket_id}'"


def _repeated(where: str, values: list[Any]) -> Iterable[str]:
    for value, count in Counter(value for value in values if value is not None).items():
        if count > 1:
            yield f"{where}: '{value}' appears {count} times"


def _parse(path: Path) -> object:
    data = path.read_bytes()
    try:
        if path.suffix == ".json":
            document: object = json.loads(data)
            return document
        import yaml

        return yaml.safe_load(data)
    except ImportError:
        raise SeedError(f"{path}: reading YAML needs the package pyyaml; a .json file does not") from None
    except ValueError as error:
        raise SeedError(f"{path} is not JSON: {error}") from None
    except yaml.YAMLError as error:
        raise SeedError(f"{path} is not YAML: {' '.join(str(error).split())}") from None


def _fill_project(tenant: Tenant, project: _Project, settings: EmulatorSettings) -> None:
    tenant.add_project(project.name, project.fields(settings), settings)
    for bucket in project.buckets:
        tenant.add_bucket(project.name, bucket.name, bucket.title, settings, bucket.id)


def _fill_sources(tenant: Tenant, project: _Project, settings: EmulatorSettings) -> None:
    for part in project.sources:
        source = tenant.create_source(project.name, part.name, part.fields(settings), settings, source_id=part.id)
        tenant.set_comments(source, part.messages)
