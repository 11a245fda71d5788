"""Template files for the arguments that may be files, and for no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_cm.api import arguments
from airflow_provider_cm.exceptions import CommsMiningFailure
from airflow_provider_cm.task import is_literal

if TYPE_CHECKING:
    from collections.abc import Sequence


class TemplateFiles(BaseOperator):
    """An operator some of whose templated arguments may be the path of a file.

    Airflow would take any templated text that ends with one of :attr:`template_ext` for a file, such as a path of data
    that ends in ``.json``.
    """

    #: Arguments that may be the path of a file with an extension of ``template_ext``.
    file_fields: ClassVar[Sequence[str]] = ()

    def resolve_template_files(self) -> None:
        """Replace the path of a file by its content, for the arguments that may be files and for no other."""
        for name in self.file_fields:
            path = getattr(self, name)
            if isinstance(path, str) and path.endswith(tuple(self.template_ext)) and is_literal(path):
                setattr(self, name, self._read_template_file(name, path))
        self.prepare_template()

    def _read_template_file(self, name: str, path: str) -> str:
        from jinja2 import TemplateNotFound

        environment = self.get_template_env()
        try:
            if environment.loader is not None:
                return environment.loader.get_source(environment, path)[0]
        except TemplateNotFound:
            pass
        raise CommsMiningFailure(
            f"{name}: there is no file {arguments.excerpt(path)} in the DAG's folder or its template_searchpath"
        )

    def render_template(
        self, content: Any, context: Any, jinja_env: Any = None, seen_oids: set[int] | None = None
    ) -> Any:
        """Render a value, and read a file only for an argument that may be one. Arguments as for Airflow's method."""
        if (
            isinstance(content, str)
            and content.endswith(tuple(self.template_ext))
            and not any(content is getattr(self, name) for name in self.file_fields)
        ):
            environment = jinja_env or self.get_template_env()
            return self._render(environment.from_string(content), context)
        return super().render_template(content, context, jinja_env, seen_oids)
