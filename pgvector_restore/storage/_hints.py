"""What helps where a storage refuses: by the code in its answer, or the kind of its error."""

from __future__ import annotations

from collections.abc import Mapping

from pgvector_restore.errors import BackupNotFoundError, quoted

__all__ = ["ARCHIVED", "code_of", "hint_for", "no_such_store"]

#: What S3 says of an object that has to be brought back from an archive before it can be read.
ARCHIVED = "InvalidObjectState"

_HINTS = {
    ARCHIVED: "have the storage bring it back from its archive, then retry",
    "ExpiredToken": "the login has expired: get a new one",
    "HostKeyNotVerifiable": "put the key of the host into ~/.ssh/known_hosts, or name another file"
    " with the storage option known_hosts",
    "KeyImportError": "the storage options client_keys and passphrase name a key and open it",
    "NoCredentialsError": "give key and secret as storage options or in the environment",
    "RequestTimeTooSkewed": "set the clock of this machine",
}


def code_of(exc: BaseException) -> str:
    """The code of an answer of S3, which s3fs keeps in the cause; else the kind of the error."""
    response = getattr(exc.__cause__, "response", None)
    if isinstance(response, Mapping) and isinstance(found := response.get("Error"), Mapping):
        return str(found.get("Code"))
    return type(exc).__name__


def hint_for(exc: BaseException) -> str | None:
    """What helps, where that is known."""
    return _HINTS.get(code_of(exc))


def no_such_store(display: str, exc: BackupNotFoundError) -> BackupNotFoundError:
    """What a file means that was missed on the way to a store."""
    name = getattr(exc.__cause__, "filename", None)
    hint = f"there is no file {quoted(name)}, which its options name" if name else None
    return BackupNotFoundError(f"no such store: {quoted(display)}", hint=hint)
