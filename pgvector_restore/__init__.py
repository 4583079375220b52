"""Bring backups of pgvector tables back into PostgreSQL: exactly, all tables or none.

>>> from pgvector_restore import Restorer, open_store
>>> store = open_store("./data_pipeline/training_data")
>>> with Restorer(store, "postgresql://user@host/db") as restorer:  # doctest: +SKIP
...     print(restorer.plan("latest", mode="replace"))
...     report = restorer.restore("latest", mode="replace")
"""

from pgvector_restore.errors import (
    BackupNotFoundError,
    BadCellError,
    BadDataError,
    BadHeaderError,
    BadRecordError,
    CancelledError,
    ConnectError,
    IncompleteBackupError,
    MissingExtraError,
    OptionError,
    OutcomeUnknownError,
    PgvectorRestoreError,
    RowCountError,
    RowRejectedError,
    StoreChangedError,
    StoreError,
    TargetBusyError,
    TargetChangedError,
    TargetError,
    TargetMismatchError,
)
from pgvector_restore.findings import Finding
from pgvector_restore.forecast import Forecast, IndexBuild, TableLock
from pgvector_restore.model import (
    BackupFile,
    BackupSet,
    Catalog,
    IncompleteSet,
    Location,
    ObjectInfo,
    RepairCount,
)
from pgvector_restore.options import RestoreOptions
from pgvector_restore.plan import RestorePlan, TablePlan
from pgvector_restore.progress import LoggingProgress, ProgressEvent, ServerStep, TqdmProgress
from pgvector_restore.report import RestoreReport, TableReport, format_size
from pgvector_restore.restorer import Restorer
from pgvector_restore.settings import environment_target, resolve_target
from pgvector_restore.storage import DEFAULT_LAYOUT, BackupStore, Layout, open_store
from pgvector_restore.target import AttachedCode

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_LAYOUT",
    "AttachedCode",
    "BackupFile",
    "BackupNotFoundError",
    "BackupSet",
    "BackupStore",
    "BadCellError",
    "BadDataError",
    "BadHeaderError",
    "BadRecordError",
    "CancelledError",
    "Catalog",
    "ConnectError",
    "Finding",
    "Forecast",
    "IncompleteBackupError",
    "IncompleteSet",
    "IndexBuild",
    "Layout",
    "Location",
    "LoggingProgress",
    "MissingExtraError",
    "ObjectInfo",
    "OptionError",
    "OutcomeUnknownError",
    "PgvectorRestoreError",
    "ProgressEvent",
    "RepairCount",
    "RestoreOptions",
    "RestorePlan",
    "RestoreReport",
    "Restorer",
    "RowCountError",
    "RowRejectedError",
    "ServerStep",
    "StoreChangedError",
    "StoreError",
    "TableLock",
    "TablePlan",
    "TableReport",
    "TargetBusyError",
    "TargetChangedError",
    "TargetError",
    "TargetMismatchError",
    "TqdmProgress",
    "__version__",
    "environment_target",
    "format_size",
    "open_store",
    "resolve_target",
]
