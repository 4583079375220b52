"""The storage contract as a test class, for those who bring a store of their own.

It needs pytest, which is no dependency of the package. Derive, say how a store is made and
changed behind its back, and let pytest collect the class::

    class TestMyStore(BackupStoreTests):
        def make_store(self, objects): ...
        def make_missing(self): ...
        def replace(self, store, key, data): ...

A store that can be written derives from :class:`WritableStoreTests`, which asks for the same hooks.

No test is meant to be overridden: a store that needs that does not keep the contract.
"""

from pgvector_restore.testing._reading import BackupStoreTests
from pgvector_restore.testing._writing import WritableStoreTests

__all__ = ["BackupStoreTests", "WritableStoreTests"]
