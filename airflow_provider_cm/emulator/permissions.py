"""Permissions by their names on the wire, and the roles that the emulator's tokens have."""

from __future__ import annotations

READ = "sources-read"
ADMIN = "sources-admin"
# What the vendor's pages call the permissions that its wire format abbreviates.
PERMISSION_LABELS = {
    READ: "View sources",
    ADMIN: "Sources admin",
    "sources-add-comments": "Edit messages",
    "voc-readonly": "View labels",
    "triggers-consume": "Consume streams",
    "triggers-read": "View streams",
    "users-read": "View users",
}
_LOOK = frozenset({READ, "buckets-read", "voc-readonly", "triggers-read"})
ROLES = {
    "admin": _LOOK
    | {
        ADMIN,
        "sources-add-comments",
        "buckets-write",
        "buckets-append",
        "voc",
        "datasets-admin",
        "datasets-export",
        "datasets-review",
        "triggers-admin",
        "triggers-write",
        "triggers-consume",
        "users-read",
        "users-write",
    },
    # May fill sources, and neither create nor change nor delete them.
    "loader": _LOOK | {"sources-add-comments"},
    "viewer": _LOOK,
    "none": frozenset[str](),
}
