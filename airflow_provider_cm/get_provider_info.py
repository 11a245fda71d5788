"""What Airflow is told of this package, in every process that discovers providers: so it imports nothing."""

from __future__ import annotations

TYPE_CHECKING = False  # not from typing, whose import takes longer than all of this
if TYPE_CHECKING:
    from typing import Any

_OPTIONAL_TEXT = {"type": ["string", "null"]}
_OPTIONAL_NUMBER = {"type": ["number", "null"], "minimum": 0}
_OPTIONAL_FLAG = {"type": ["boolean", "null"]}


def _field(label: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": schema}


def get_provider_info() -> dict[str, Any]:
    """Give the provider's metadata, as Airflow's ``provider_info.schema.json`` has it.

    The fields of the connection form (``conn-fields``) are read by Airflow 3.2 and later; on older versions the extra
    is typed as JSON.
    """
    return {
        "package-name": "airflow-provider-cm",
        "name": "UiPath Communications Mining",
        "description": "Provision sources of UiPath Communications Mining (formerly Re:infer). Unofficial.",
        "integrations": [
            {
                "integration-name": "UiPath Communications Mining",
                "external-doc-url": "https://docs.uipath.com/communications-mining",
                "tags": ["service"],
            }
        ],
        "hooks": [
            {
                "integration-name": "UiPath Communications Mining",
                "python-modules": ["airflow_provider_cm.hooks.comms_mining"],
            }
        ],
        "operators": [
            {
                "integration-name": "UiPath Communications Mining",
                "python-modules": [
                    "airflow_provider_cm.operators.approval",  # Airflow 3.1 and later
                    "airflow_provider_cm.operators.messages",
                    "airflow_provider_cm.operators.rollout",
                    "airflow_provider_cm.operators.sources",
                ],
            }
        ],
        "sensors": [
            {
                "integration-name": "UiPath Communications Mining",
                "python-modules": ["airflow_provider_cm.sensors.sources"],
            }
        ],
        "triggers": [
            {
                "integration-name": "UiPath Communications Mining",
                "python-modules": ["airflow_provider_cm.triggers.sources"],
            }
        ],
        "transfers": [
            {
                "source-integration-name": source,
                "target-integration-name": "UiPath Communications Mining",
                "python-module": f"airflow_provider_cm.transfers.{module}",
            }
            for source, module in (("Common IO", "files_to_comms_mining"), ("Common SQL", "sql_to_comms_mining"))
        ],
        "task-decorators": [
            {
                "name": "load_messages",
                "class-name": "airflow_provider_cm.decorators.load_messages.load_messages_task",
            }
        ],
        "extra-links": ["airflow_provider_cm.links.ProjectLink"],
        "asset-uris": [{"schemes": ["comms-mining"], "handler": "airflow_provider_cm.assets.sanitize_uri"}],
        # Read by Airflow 3.2 and later.
        "cli": ["airflow_provider_cm.cli.commands.get_comms_mining_cli_commands"],
        "connection-types": [
            {
                "connection-type": "comms_mining",
                "hook-class-name": "airflow_provider_cm.hooks.comms_mining.CommsMiningHook",
                "hook-name": "UiPath Communications Mining",
                "ui-field-behaviour": {
                    # The port is there only for Airflow 3.3.1 and 3.3.2 (apache/airflow#73298).
                    "hidden-fields": ["schema"],
                    "relabeling": {
                        "host": "Endpoint (host)",
                        "login": "App ID, external application (login)",
                        "password": "Developer token or App Secret (password)",
                        "port": "Port: empty, or 0 (port)",
                    },
                    "placeholders": {
                        "host": "https://cloud.uipath.com/<organization>/<tenant>/reinfer_",
                        "login": "empty for a developer token",
                        "port": "0 makes Test connection work on Airflow 3.3.1 and 3.3.2",
                    },
                },
                "conn-fields": _conn_fields(),
            }
        ],
    }


def _conn_fields() -> dict[str, Any]:
    # Each label ends with the field's name, by which errors call it. The order is that of the form.
    fields = {
        "organization": _field(
            "Organization", "If the endpoint is only a host such as cloud.uipath.com: the organization.", _OPTIONAL_TEXT
        ),
        "tenant": _field("Tenant", "If the endpoint is only a host: the tenant.", _OPTIONAL_TEXT),
        "identity_url": _field(
            "Token endpoint",
            "External application: where tokens are issued. Derived from the endpoint on UiPath's cloud.",
            {"type": ["string", "null"], "format": "url"},
        ),
        "scope": _field(
            "Scopes",
            "External application: scopes, separated by spaces. Default: PM.User PM.User.Read Ixp.ApiAccess",
            _OPTIONAL_TEXT,
        ),
        "read_only": _field("Read only", "Guard: refuse every write.", _OPTIONAL_FLAG),
        # Without its default, the form would show a switch that is off, although deletes are allowed then.
        "allow_delete": _field(
            "Allow deletes",
            "Guard: switch it off to refuse every delete. Default: on",
            {**_OPTIONAL_FLAG, "default": True},
        ),
        "allow_load": _field(
            "Allow loads",
            "Guard: switch it off to refuse loading messages, which the vendor charges for. Default: on",
            {**_OPTIONAL_FLAG, "default": True},
        ),
        "allowed_projects": _field(
            "Allowed projects",
            "Guard: projects that may be written to, names or patterns separated by commas. Default: all",
            _OPTIONAL_TEXT,
        ),
        "connect_timeout": _field("Connect timeout, s", "Seconds to connect. Default: 10", _OPTIONAL_NUMBER),
        "read_timeout": _field(
            "Read timeout, s", "Seconds without a byte while reading. Default: 60", _OPTIONAL_NUMBER
        ),
        "max_attempts": _field(
            "Attempts", "How often a call is tried. Default: 5", {"type": ["integer", "null"], "minimum": 1}
        ),
        "max_retry_seconds": _field(
            "Time for a call, s", "Seconds that one call may take with all its retries. Default: 300", _OPTIONAL_NUMBER
        ),
        "verify": _field(
            "Verify TLS", "true, false, or the path of a CA bundle on the workers. Default: true", _OPTIONAL_TEXT
        ),
        "client_cert": _field("Client certificate", "Path of a PEM file with certificate and key.", _OPTIONAL_TEXT),
        "proxy": _field(
            "Proxy",
            "URL of a proxy, e.g. http://user:password@proxy.example.com:3128",
            {"type": ["string", "null"], "format": "password"},
        ),
        "allow_http": _field(
            "Allow plain http", "Let credentials travel unencrypted, in a trusted network only.", _OPTIONAL_FLAG
        ),
        "ui_url": _field(
            "Web interface",
            "Its URL for links, if it is not at the endpoint.",
            {"type": ["string", "null"], "format": "url"},
        ),
    }
    for name, field in fields.items():
        field["label"] += f" ({name})"
    return fields
