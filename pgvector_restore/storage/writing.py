"""The other half of the storage contract: what a store must do so that backups can be written."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from typing import BinaryIO, NoReturn

from pgvector_restore.errors import OptionError, quoted
from pgvector_restore.storage.base import BackupStore

__all__ = ["ReadOnlyStore", "WritableStore"]


class WritableStore(BackupStore):
    """A store that can be written: backups are made in it, copied to it and removed from it."""

    @property
    def read_only_reason(self) -> str | None:
        """Why this one cannot be written after all, one line; ``None``: it can."""
        return None

    @abstractmethod
    def create(self, key: str, *, replace: bool = False) -> AbstractContextManager[BinaryIO]:
        """A new object, written in the block and there when the block ends.

        ``with store.create(key) as stream: stream.write(data)``. Until the block ends without an
        exception nothing is to be seen under the key, and after one nothing is, or what was there
        before. What was written is on the disk when the block has ended, as far as the storage
        can promise it. A process that is killed leaves at most an object named as the layout's
        ``partial_suffix`` says, or parts of an upload that nobody sees. Folders on the way are
        made. Several objects may be written at once, each by one thread.

        Args:
            key: Where; see :class:`BackupStore`.
            replace: Take the place of what is there.

        Raises:
            OptionError: The store is read-only, or the text is no key.
            BackupExistsError: An object is there, and ``replace`` was not asked for.
            BackupInUseError: Somebody else is writing it, where the storage can tell.
            StoreError: No room, no permission, or the storage does not answer.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object.

        Raises:
            OptionError: The store is read-only.
            BackupNotFoundError: It is not there.
            StoreError: No permission, or the storage does not answer.
        """


class ReadOnlyStore(WritableStore):
    """A store that says why nothing is written to it."""

    @property
    @abstractmethod
    def read_only_reason(self) -> str:
        """Why; one line."""

    def create(self, key: str, *, replace: bool = False) -> NoReturn:  # noqa: ARG002
        """Refuse.

        Raises:
            OptionError: Always.
        """
        refuse_writing(self)

    def delete(self, key: str) -> NoReturn:  # noqa: ARG002
        """Refuse.

        Raises:
            OptionError: Always.
        """
        refuse_writing(self)


def refuse_writing(store: WritableStore) -> NoReturn:
    """Say that a store is not written to, and why."""
    raise OptionError(
        f"{quoted(store.url)} is read-only: {store.read_only_reason}",
        hint="name a folder or a storage that backups can be written to",
    )
