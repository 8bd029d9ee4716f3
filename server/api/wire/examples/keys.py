"""Examples of keys and the audit log: a key for one application, restricted to two tasks."""

from __future__ import annotations

from server.api.wire import keys
from server.api.wire.examples.inference import DATE_ISO, SENTIMENT
from server.api.wire.examples.tasks import CREATED_AT, FINGERPRINT, MOVED_AT

_ADMIN = "admin-key"
_NAME = "shop"
_TASKS = [DATE_ISO, SENTIMENT]
_KEY = keys.Key(
    object="key",
    name=_NAME,
    scopes=["infer"],
    tasks=_TASKS,
    expires_at=None,
    best_priority=0,
    max_requests_per_minute=600,
    max_tokens_per_minute=None,
    max_concurrent=8,
    salt=None,
    created_at=CREATED_AT,
    created_by=_ADMIN,
    revoked_at=None,
    revoked_by=None,
)
_REVOKED = keys.Key(**{**dict(_KEY), "revoked_at": MOVED_AT, "revoked_by": _ADMIN})

EXAMPLES = (
    keys.CallerKey(
        object="key.self",
        name=_NAME,
        scopes=["infer"],
        tasks=_TASKS,
        expires_at=None,
        limits=keys.CallerLimits(max_requests_per_minute=600, max_tokens_per_minute=None, max_concurrent=8),
    ),
    keys.CreateKey(name=_NAME, scopes=["infer"], tasks=_TASKS, max_requests_per_minute=600, max_concurrent=8),
    _REVOKED,
    keys.CreatedKey(**dict(_KEY), key="sp-EXAMPLE-EXAMPLE-EXAMPLE-EXAMPLE-EXAMPLE-0000"),
    keys.KeyList(object="list", data=[_KEY], has_more=False),
    keys.AuditLog(
        object="list",
        data=[
            keys.AuditEntry(
                object="audit.entry",
                id=21,
                kind="alias_moved",
                base_fingerprint=FINGERPRINT,
                task=SENTIMENT,
                version=1,
                alias="production",
                key=None,
                changed_at=MOVED_AT,
                changed_by="key:ci",
            )
        ],
        has_more=True,
    ),
)
