"""The public names; they are loaded when the first of them is asked for."""

from pgvector_restore._version import __version__
from pgvector_restore.backup_options import BackupOptions
from pgvector_restore.backup_report import BackupReport, BackupTable
from pgvector_restore.backuper import Backuper
from pgvector_restore.cancel import CancelToken
from pgvector_restore.copy_report import CopiedFile, CopyReport
from pgvector_restore.copying import copy_set
from pgvector_restore.errors import (
    BackupExistsError,
    BackupInUseError,
    BackupNotFoundError,
    BadCellError,
    BadCompressionError,
    BadDataError,
    BadHeaderError,
    BadManifestError,
    BadRecordError,
    CancelledError,
    ConnectError,
    ContentMismatchError,
    ExecutorError,
    IncompleteBackupError,
    MissingExtraError,
    OptionError,
    OutcomeUnknownError,
    PgvectorRestoreError,
    PruneError,
    RowCountError,
    RowRejectedError,
    StoreChangedError,
    StoreError,
    TargetBusyError,
    TargetChangedError,
    TargetError,
    TargetMismatchError,
    TooManyBadRowsError,
)
from pgvector_restore.findings import Finding
from pgvector_restore.forecast import Forecast, IndexBuild, TableLock
from pgvector_restore.inspecting import inspect_set
from pgvector_restore.inspection import (
    BadCell,
    ColumnInspection,
    FileInspection,
    InspectReport,
    Orphan,
    RepeatedKey,
    RepeatedKeys,
    RowClaim,
)
from pgvector_restore.keeping import Decision, KeepRules
from pgvector_restore.manifest import (
    Manifest,
    ManifestColumn,
    ManifestFile,
    ManifestIndex,
    ManifestKey,
    ManifestTable,
)
from pgvector_restore.model import (
    BackupFile,
    BackupSet,
    Catalog,
    IncompleteSet,
    Location,
    ObjectInfo,
    RepairCount,
    UnpackLimits,
)
from pgvector_restore.options import RestoreOptions
from pgvector_restore.plan import RestorePlan, TablePlan
from pgvector_restore.previous import (
    PreviousTable,
    PreviousTables,
    RevertedTable,
    RevertReport,
)
from pgvector_restore.progress import LoggingProgress, ProgressEvent, ServerStep, TqdmProgress
from pgvector_restore.prune_report import Leftover, PruneReport
from pgvector_restore.pruning import prune
from pgvector_restore.report import RestoreReport, TableReport, format_size
from pgvector_restore.restorer import Restorer
from pgvector_restore.settings import environment_target, resolve_target
from pgvector_restore.storage import DEFAULT_LAYOUT, BackupStore, Layout, WritableStore, open_store
from pgvector_restore.target import AttachedCode
from pgvector_restore.verify_report import RowDifference, TableComparison, VerifyReport

__all__ = [
    "DEFAULT_LAYOUT",
    "AttachedCode",
    "BackupExistsError",
    "BackupFile",
    "BackupInUseError",
    "BackupNotFoundError",
    "BackupOptions",
    "BackupReport",
    "BackupSet",
    "BackupStore",
    "BackupTable",
    "Backuper",
    "BadCell",
    "BadCellError",
    "BadCompressionError",
    "BadDataError",
    "BadHeaderError",
    "BadManifestError",
    "BadRecordError",
    "CancelToken",
    "CancelledError",
    "Catalog",
    "ColumnInspection",
    "ConnectError",
    "ContentMismatchError",
    "CopiedFile",
    "CopyReport",
    "Decision",
    "ExecutorError",
    "FileInspection",
    "Finding",
    "Forecast",
    "IncompleteBackupError",
    "IncompleteSet",
    "IndexBuild",
    "InspectReport",
    "KeepRules",
    "Layout",
    "Leftover",
    "Location",
    "LoggingProgress",
    "Manifest",
    "ManifestColumn",
    "ManifestFile",
    "ManifestIndex",
    "ManifestKey",
    "ManifestTable",
    "MissingExtraError",
    "ObjectInfo",
    "OptionError",
    "Orphan",
    "OutcomeUnknownError",
    "PgvectorRestoreError",
    "PreviousTable",
    "PreviousTables",
    "ProgressEvent",
    "PruneError",
    "PruneReport",
    "RepairCount",
    "RepeatedKey",
    "RepeatedKeys",
    "RestoreOptions",
    "RestorePlan",
    "RestoreReport",
    "Restorer",
    "RevertReport",
    "RevertedTable",
    "RowClaim",
    "RowCountError",
    "RowDifference",
    "RowRejectedError",
    "ServerStep",
    "StoreChangedError",
    "StoreError",
    "TableComparison",
    "TableLock",
    "TablePlan",
    "TableReport",
    "TargetBusyError",
    "TargetChangedError",
    "TargetError",
    "TargetMismatchError",
    "TooManyBadRowsError",
    "TqdmProgress",
    "UnpackLimits",
    "VerifyReport",
    "WritableStore",
    "__version__",
    "copy_set",
    "environment_target",
    "format_size",
    "inspect_set",
    "open_store",
    "prune",
    "resolve_target",
]
