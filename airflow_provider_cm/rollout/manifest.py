"""The file that a team reviews: which sources a project should have, and what may be removed from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationError,
    WithJsonSchema,
)

from airflow_provider_cm.api.names import check_project, check_property, check_source_name
from airflow_provider_cm.api.source_fields import SETTABLE
from airflow_provider_cm.rollout.manifest_errors import ManifestError, Path
from airflow_provider_cm.rollout.manifest_validation import ManifestValidator
from airflow_provider_cm.rollout.patterns import check_pattern
from airflow_provider_cm.rollout.variables import Filler
from airflow_provider_cm.rollout.yaml_reader import read_mapping, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider_cm.rollout.actions import Value


def _no_prefix(check: Callable[[object, str], str], field: str) -> Callable[[str], str]:
    """Make a validator of a check that names the field itself, which the report of mistakes does too."""

    def validate(value: str) -> str:
        try:
            return check(value, field)
        except ValueError as error:
            raise ValueError(str(error).removeprefix(f"{field}: ")) from None

    return validate


def _whole(value: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("this text holds half of a surrogate pair, which is no character")
    if "\0" in value:
        raise ValueError("this text holds a NUL character, which Airflow's database cannot hold; remove it")
    return value


def _filled(value: str) -> str:
    if value.strip() in {"", "None"}:
        raise ValueError(f"{value!r} is no value; leave the field out to keep what is there")
    return _whole(value)


# In a file these may be "${name}" still, so that an editor must not hold them against the API's rules.
_Project = Annotated[
    StrictStr,
    AfterValidator(_no_prefix(check_project, "project")),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
_Name = Annotated[
    StrictStr,
    AfterValidator(_no_prefix(check_source_name, "name")),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
_Pattern = Annotated[StrictStr, AfterValidator(check_pattern), WithJsonSchema({"type": "string", "minLength": 1})]
_Property = Annotated[
    StrictStr,
    AfterValidator(_no_prefix(check_property, "sensitive_properties")),
    WithJsonSchema({"type": "string", "pattern": r"^(?:number|string):\S|\$\{"}),
]
_Text = Annotated[StrictStr, AfterValidator(_whole)]
_Filled = Annotated[StrictStr, AfterValidator(_filled), WithJsonSchema({"type": "string", "minLength": 1})]
_Bool = Annotated[
    StrictBool,
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$"}]}),
]


class Fields(BaseModel):
    """What a manifest can say of a source; a field that is left out is not managed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: _Text | None = Field(default=None, description="One line for people.")
    description: _Text | None = Field(default=None, description="A longer text.")
    language: _Filled | None = Field(
        default=None, description="Language of the messages, such as en or Multilingual; set by a create only."
    )
    should_translate: _Bool | None = Field(default=None, description="Translate messages where required.")
    sensitive_properties: tuple[_Property, ...] | None = Field(
        default=None,
        description="Properties to hide from users without the privilege to see them, in any order, such as "
        "string:Sender or number:Priority.",
    )
    bucket_id: _Filled | None = Field(
        default=None,
        description="Id of the bucket that data is loaded from. Ids belong to a tenant: use a variable.",
    )
    kind: _Filled | None = Field(
        default=None, description="The API's _kind, such as call or chat; set by a create only."
    )
    email_transform_tag: _Filled | None = Field(
        default=None, description="How e-mails of the bucket are made into messages."
    )
    must_exist: _Bool | None = Field(
        default=None, description="If the source is missing, say so instead of creating an empty one."
    )


class Entry(Fields):
    """One source of a manifest."""

    name: _Name = Field(description="The source's name; it cannot be changed.")
    detach_bucket: _Bool | None = Field(
        default=None, description="Take the bucket away; the only way to do so. Contradicts bucket_id."
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a manifest wants of one source, defaults included.

    :param name: the source's name.
    :param fields: the managed fields; ``bucket_id`` is ``None`` where the bucket is to be detached.
    :param must_exist: never create it.
    """

    name: str
    fields: Mapping[str, Value]
    must_exist: bool


class Manifest(BaseModel):
    """The sources that a project should have; made by :meth:`parse`.

    What it names, it manages, in the fields that it gives; what it ``owns`` by pattern and does not name, a plan may
    delete if told to ``prune``; everything else in the project is invisible to it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, title="Sources of a Communications Mining project")

    project: _Project = Field(description="The project, e.g. ${project}.")
    owns: tuple[_Pattern, ...] = Field(
        default=(),
        description="Patterns (*, ?, [...]) of the names this file answers for, upper and lower case as written; only "
        "these are ever pruned.",
    )
    protect: tuple[_Pattern, ...] = Field(
        default=(),
        description="Names or patterns of sources that are never pruned, whatever happens, in upper or lower case.",
    )
    defaults: Fields = Field(default=Fields(), description="What holds for every source that does not say otherwise.")
    sources: tuple[Entry, ...] = Field(description="The sources, each with a name of its own.")

    @classmethod
    def parse(
        cls,
        manifest: str | bytes | Mapping[str, Any],
        variables: Mapping[str, str | bool] | None = None,
        *,
        filename: str | None = None,
    ) -> Self:
        """Read a manifest.

        :param manifest: YAML or JSON, or the same as a dict. It is data, never a template: the only thing replaced is
            ``${name}`` in texts, once; ``$${`` stands for ``${`` itself.
        :param variables: what to put in, by name: texts, or a bool for a field that is nothing but ``${name}``. Each
            one must be used.
        :param filename: what to call it in errors.
        :raises ManifestError: with every mistake, each with file, line, source and field.
        """
        document = read_text(manifest) if isinstance(manifest, str | bytes) else read_mapping(manifest)
        judge = ManifestValidator(document, filename)
        if judge.has_data():
            filler = Filler(variables or {}, judge.wrong)
            document.data = filler.fill(document.data)
            judge.check_entries()
            try:
                parsed = cls.model_validate(document.data)
            except ValidationError as error:
                judge.explain(error, _known_fields)
            filler.finish()
        if mistakes := judge.mistakes():
            raise ManifestError(mistakes)
        return parsed

    def wanted(self) -> Iterator[Wanted]:
        """Return what is wanted of each source, one by one, with the defaults filled in."""
        defaults = _given(self.defaults)
        return (_wanted(entry, defaults) for entry in self.sources)


def _known_fields(path: Path) -> list[str]:
    if len(path) == 1:
        return list(Manifest.model_fields)
    return list(Entry.model_fields if path[0] == "sources" else Fields.model_fields)


def _given(fields: Fields) -> dict[str, Any]:
    return {name: value for name, value in vars(fields).items() if value is not None}


def _wanted(entry: Entry, defaults: Mapping[str, Any]) -> Wanted:
    own = _given(entry)
    given = {**defaults, **own}
    fields: dict[str, Value] = {name: given[name] for name in SETTABLE if name in given}
    if own.get("detach_bucket"):
        fields["bucket_id"] = None
    return Wanted(entry.name, fields, bool(given.get("must_exist")))
