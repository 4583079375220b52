"""Which backup set a call means."""

from __future__ import annotations

import click

from pgvector_restore.model import BackupSet, Catalog
from pgvector_restore.storage import BackupStore
from pgvector_restore.storage.discover import check_task_id

__all__ = ["find_set"]


def find_set(store: BackupStore, label: str, task: str | None) -> tuple[Catalog, BackupSet]:
    """The set that LABEL and ``--task`` name, and the catalog it was found in."""
    if task is not None:
        check_task_id(task)
    if task is not None and "/" not in label:
        label = f"{task}/{label}"
    elif task is not None and not label.startswith(f"{task}/"):
        raise click.UsageError(f"{label} is no backup set of --task {task}")
    backup, catalog = store.find(label)
    return catalog, backup
