"""What the API answers, for its OpenAPI document; the answers themselves are written by ``shapes``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Id = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Ok(_Closed):
    status: Literal["ok"]


class Error(_Closed):
    """Any answer that is not a success."""

    status: Literal["error"]
    message: str


class Ok(_Ok):
    """A success without more to say."""


class Source(_Closed):
    """A source; which of the keys that are not required are there depends on the setting ``shapes``."""

    id: Id
    owner: str
    name: str
    title: str
    description: str
    should_translate: bool
    sensitive_properties: list[str]
    created_at: Timestamp
    updated_at: Timestamp
    last_modified: Timestamp
    language: str = ""
    kind: str = Field(default="", alias="_kind")
    bucket_id: str = ""
    email_transform_tag: str | None = None


class SourceAnswer(_Ok):
    """One source."""

    source: Source


class SourcesAnswer(_Ok):
    """Several sources."""

    sources: list[Source]


class Statistics(_Closed):
    """Figures on a source's messages."""

    num_comments: float


class StatisticsAnswer(_Ok):
    """Statistics of one source."""

    statistics: Statistics


class Project(_Closed):
    """A project."""

    id: Id
    name: str
    title: str
    description: str
    created_at: Timestamp
    updated_at: Timestamp


class ProjectAnswer(_Ok):
    """One project."""

    project: Project


class ProjectsAnswer(_Ok):
    """Several projects."""

    projects: list[Project]


class Bucket(_Closed):
    """A bucket."""

    id: str
    owner: str
    name: str
    title: str
    created_at: Timestamp
    updated_at: Timestamp


class BucketAnswer(_Ok):
    """One bucket."""

    bucket: Bucket


class BucketsAnswer(_Ok):
    """Several buckets."""

    buckets: list[Bucket]


class UserAnswer(_Ok):
    """The user behind the token."""

    user: dict[str, Any]


class RefreshAnswer(_Ok):
    """Whether permissions were read anew; ``null`` if that is not relevant for the user."""

    permissions_refreshed: bool | None
