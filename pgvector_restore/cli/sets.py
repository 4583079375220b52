"""Which backup set a call means."""

from __future__ import annotations

import click

from pgvector_restore.model import BackupSet, Catalog
from pgvector_restore.storage import BackupStore

__all__ = ["find_set"]


def find_set(store: BackupStore, label: str, task: str | None) -> tuple[Catalog, BackupSet]:
    """The catalog and the set that LABEL and ``--task`` name."""
    if task is not None and "/" not in label:
        label = f"{task}/{label}"
    elif task is not None and not label.startswith(f"{task}/"):
        raise click.UsageError(f"{label} is no backup set of --task {task}")
    catalog = store.catalog(task_id=task)
    return catalog, catalog.get(label)
