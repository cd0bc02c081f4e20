"""Which store a deployment has, and that it is the one its database speaks of."""

from __future__ import annotations

import hashlib
import logging

from robotrace.errors import ConfigurationError
from robotrace.serve.database import Database
from robotrace.serve.models import Fact
from robotrace.serve.settings import Settings
from robotrace.serve.store import LocalStore, ObjectStore, StoreError

__all__ = ["open_store", "require_same_store"]

_logger = logging.getLogger(__name__)

_STORE, _SECRET = "store", "secret"


def open_store(settings: Settings, secret: bytes) -> ObjectStore:
    """The store that the settings name; what interrupted uploads have left on this machine is deleted.

    Args:
        settings: The deployment's; its data folder is there.
        secret: What URLs of the deployment are signed with.

    Raises:
        ConfigurationError: It is a bucket that cannot be used, or the extra for buckets is not installed.
        OSError: The data folder cannot be written.
    """
    if not settings.storage:
        local = LocalStore(settings.objects_dir, secret)
        local.discard_incoming()
        return local
    try:
        from robotrace.serve.bucket import BucketStore
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"a bucket needs {error.name}; run: pip install 'robotrace-dev[s3]'") from error
    bucket = BucketStore(settings.storage, secret, settings.bucket_dir)
    bucket.discard_incoming()
    return bucket


def require_same_store(settings: Settings, database: Database, store: ObjectStore, secret: bytes) -> None:
    """Refuse a store that has not the objects of this database; say it when replicas sign with different secrets.

    Two replicas on one PostgreSQL with a data folder each would both work, and each would miss half of the files. A
    store is known by an object in it, so that it may move with its objects.

    Raises:
        ConfigurationError: The database belongs to another store, or the store cannot be used.
    """
    try:
        identity = store.identity()
    except StoreError as error:
        raise ConfigurationError(f"the storage cannot be used: {error}; try `robotrace serve --check`") from error
    fingerprint = hashlib.sha256(b"robotrace url secret\0" + secret).hexdigest()
    with database.write() as session:
        known = session.get(Fact, _STORE)
        if known is None:
            session.add(Fact(name=_STORE, value=identity))
        elif known.value != identity:
            if not settings.database and not settings.storage:  # both in one folder: its objects were deleted by hand
                known.value = identity
            else:
                raise ConfigurationError(
                    f"the objects of the database {database.name} are in another storage; every replica has to name "
                    "the same bucket with --storage (a storage that was moved takes its object storage-id along)"
                )
        before = session.get(Fact, _SECRET)
        if before is None:
            session.add(Fact(name=_SECRET, value=fingerprint))
        elif before.value != fingerprint:
            before.value = fingerprint
            _logger.warning(
                "object URLs are signed with another secret than before; replicas need the same ROBOTRACE_SERVE_SECRET"
            )
