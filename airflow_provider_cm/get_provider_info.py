"""The metadata that Airflow reads in every process that discovers providers, so this module imports nothing."""

from __future__ import annotations

from airflow_provider_cm import __version__

TYPE_CHECKING = False  # not from typing, whose import takes longer than all of this
if TYPE_CHECKING:
    from typing import Any

_INTEGRATION = "UiPath Communications Mining"
_OPTIONAL_TEXT = {"type": ["string", "null"]}
_OPTIONAL_NUMBER = {"type": ["number", "null"], "minimum": 0}
_OPTIONAL_FLAG = {"type": ["boolean", "null"]}


def _field(label: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": schema}


def _modules(*names: str) -> list[dict[str, Any]]:
    return [{"integration-name": _INTEGRATION, "python-modules": [f"airflow_provider_cm.{name}" for name in names]}]


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, by Airflow's ``provider_info.schema.json`` and as the Airflow Registry reads it.

    Airflow 3.2 and later read the fields of the connection form (``conn-fields``); in older versions users type the
    extra as JSON.
    """
    return {
        "package-name": "airflow-provider-cm",
        "name": _INTEGRATION,
        "description": "Provision sources of UiPath Communications Mining (formerly Re:infer). Unofficial.",
        "state": "ready",
        "lifecycle": "incubation",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://docs.uipath.com/communications-mining",
                "how-to-guide": ["/docs/operators.md", "/docs/rollouts.md", "/docs/waiting.md"],
                "logo": "/docs/integration-logos/communications-mining.svg",
                "tags": ["service"],
            }
        ],
        "hooks": _modules("hooks.comms_mining"),
        "operators": _modules(
            "operators.approval",  # Airflow 3.1 and later
            "operators.messages",
            "operators.rollout",
            "operators.sources",
        ),
        "sensors": _modules("sensors.sources"),
        "triggers": _modules("triggers.sources"),
        "config": {
            "comms_mining": {
                "description": "Defaults for tasks of airflow-provider-cm. The connection has all other settings.",
                "options": {
                    "max_workers": {
                        "description": "How many requests a rollout sends at once, if its task does not say so.",
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": "4",
                        "default": "8",
                    }
                },
            }
        },
        "transfers": [
            {
                "source-integration-name": source,
                "target-integration-name": _INTEGRATION,
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
                "hook-name": _INTEGRATION,
                "ui-field-behaviour": {
                    # The form shows the port only for Airflow 3.3.1 and 3.3.2 (apache/airflow#73298).
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
    # Each label ends with the field's name, which errors use. The order is that of the form.
    fields = {
        "organization": _field(
            "Organization", "If the endpoint is only a host such as cloud.uipath.com: the organization.", _OPTIONAL_TEXT
        ),
        "tenant": _field("Tenant", "If the endpoint is only a host: the tenant.", _OPTIONAL_TEXT),
        "identity_url": _field(
            "Token endpoint",
            "External application: the URL that issues tokens. Derived from the endpoint on UiPath's cloud.",
            {"type": ["string", "null"], "format": "url"},
        ),
        "scope": _field(
            "Scopes",
            "External application: scopes, separated by spaces. Default: PM.User PM.User.Read Ixp.ApiAccess",
            _OPTIONAL_TEXT,
        ),
        "read_only": _field("Read only", "Guard: refuse every write.", _OPTIONAL_FLAG),
        # Without a default, the form would show a switch that is off, although deletes are allowed.
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
            "Attempts", "How often each call is tried. Default: 5", {"type": ["integer", "null"], "minimum": 1}
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
            "Allow plain http", "Send credentials unencrypted, in a trusted network only.", _OPTIONAL_FLAG
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
