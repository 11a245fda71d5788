"""The endpoint of a tenant, in one normal form, and the URLs below it.

Both tenant styles are on the vendor's page "Using the API", section "API endpoint"; other hosts (dedicated, government,
on-premises) are taken as they are.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

from airflow_provider_cm.api.errors import ConfigurationError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

_API_SUFFIX = re.compile(r"/api(/v1)?/*\Z")
_REMEDY = (
    "expected https://cloud.uipath.com/<organization>/<tenant>/reinfer_, https://<domain>.reinfer.io "
    "or the same on your own host"
)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_url(url: str, field: str, *, allow_http: bool = False) -> str:
    """Refuse a URL that would leak a secret or cannot work, and give it back without white space around it.

    :param url: an absolute URL.
    :param field: what to call it in an error, e.g. ``identity_url``.
    :param allow_http: accept plain http to any host; by default only to this machine.
    :raises ConfigurationError: for another scheme, credentials, a query, a fragment, or no host.
    """
    url = url.strip()
    # No endpoint holds an "@", and the text before one may be a password; the text after "?" or "#" may be a key.
    # Neither is shown in an error, nor is a URL that cannot be parsed.
    if "@" in url:
        raise ConfigurationError(f"{field}: remove the credentials from the URL; they belong into login and password")
    masked = printable(re.sub(r"[?#].*", lambda match: f"{match[0][0]}...", url, flags=re.DOTALL), 200)
    if not url.isprintable() or any(c.isspace() for c in url) or "\\" in url:
        raise ConfigurationError(f"{field}: '{masked}' holds white space or characters that no URL has; {_REMEDY}")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError(f"{field}: this is not a URL; {_REMEDY}") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ConfigurationError(f"{field}: '{masked}' is not an https URL; {_REMEDY}")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ConfigurationError(f"{field}: '{masked}' has a query or a fragment; remove what follows '?' or '#'")
    if parts.scheme == "http" and not (allow_http or is_loopback(host)):
        raise ConfigurationError(
            f"{field}: '{masked}' is plain http, which would show the token to the network; use https "
            "(or set `allow_http` if the network is trusted)"
        )
    return url


def normalise_endpoint(endpoint: str, *, allow_http: bool = False) -> str:
    """Return an endpoint its one form: scheme and host in lower case, no ``/api/v1``, no slash at the end.

    :param endpoint: the user's URL, with or without ``https://``, ``/api``, ``/api/v1`` and slashes at the end.
    :param allow_http: accept plain http to other machines than this one.
    :raises ConfigurationError: if no request can or should be sent there.
    """
    text = endpoint.strip()
    if not text:
        raise ConfigurationError(f"endpoint: it is empty; {_REMEDY}")
    if "://" not in text:
        text = f"https://{text}"
    parts = urlsplit(check_url(text, "endpoint", allow_http=allow_http))
    host = parts.hostname or ""
    path = _API_SUFFIX.sub("", parts.path.rstrip("/")).rstrip("/")
    segments = path.split("/")[1:]
    if any(segment in {"", ".", ".."} for segment in segments):
        raise ConfigurationError(f"endpoint: '{printable(text)}' has an empty, '.' or '..' part in its path; {_REMEDY}")
    if "reinfer_" in segments[:-1]:
        raise ConfigurationError(
            f"endpoint: '{printable(text)}' goes on after reinfer_, like a page of the web interface; "
            "the endpoint ends with reinfer_"
        )
    if f".{host}".endswith(".uipath.com") and (len(segments) != 3 or segments[-1] != "reinfer_"):
        raise ConfigurationError(
            f"endpoint: '{printable(text)}' does not name the tenant; on this host it is "
            f"https://{host}/<organization>/<tenant>/reinfer_ (or give `organization` and `tenant` in the extra)"
        )
    shown_host = f"[{host}]" if ":" in host else host
    default_port = 443 if parts.scheme == "https" else 80
    port = f":{parts.port}" if parts.port and parts.port != default_port else ""
    return f"{parts.scheme}://{shown_host}{port}{quote(path, safe='/%:@!$&()*+,;=~')}"


def join_url(
    endpoint: str, version: str, segments: tuple[str, ...], params: Mapping[str, object] | None
) -> tuple[str, str]:
    """Return (URL, path for messages) of an API call, with every segment percent-encoded on its own.

    ``requests`` and urllib3 collapse ``.`` and ``..`` even when they are encoded, so these are refused.

    :param endpoint: a normalised endpoint.
    :param version: the part after ``/api/``, e.g. ``v1``.
    :param segments: the parts of the path, unencoded. A slash within one is encoded too.
    :param params: query parameters; a sequence as value is repeated.
    :raises ConfigurationError: for an empty segment, ``.`` or ``..``, or a version that is not one word.
    """
    if not re.fullmatch(r"[A-Za-z0-9_]+", version):
        raise ConfigurationError(f"version: '{printable(version)}' is not one word such as v1 or _private")
    if not segments:
        raise ConfigurationError("segments: at least one part of a path is needed, e.g. request('GET', 'sources')")
    for segment in segments:
        # A slash within a segment is encoded, but a server may decode it before it resolves "..".
        if not segment or {".", ".."} & set(segment.split("/")):
            raise ConfigurationError(f"segments: {segment!r} cannot be a part of a path; give the name of a thing")
    path = "/".join(quote(segment, safe=":") for segment in segments)
    query = f"?{urlencode(params, doseq=True)}" if params else ""
    return f"{endpoint}/api/{version}/{path}{query}", path
