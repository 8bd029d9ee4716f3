"""The exceptions of batches; the tree of errors.py, continued.

StoreError
├── NotFound
│   └── BatchNotFound
├── Conflict
│   └── BatchStatusConflict    the batch's status does not allow the operation
├── BatchQueueFull             too many batches of a key are unfinished
└── BatchClaimLost             the batch is no longer this server's
"""

from __future__ import annotations

from prompts_store.errors import Conflict, NotFound, StoreError


class BatchNotFound(NotFound):
    """There is no batch of this id, or it belongs to another key."""

    code = "batch_not_found"


class BatchStatusConflict(Conflict):
    """A batch of this status does not allow the operation."""

    code = "batch_status_conflict"


class BatchQueueFull(StoreError):
    """The maximum number of unfinished batches of a key is reached."""

    code = "batch_queue_full"


class BatchClaimLost(StoreError):
    """The batch has ended, is gone, or another server works on it."""

    code = "batch_claim_lost"
