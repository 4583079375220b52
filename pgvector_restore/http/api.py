"""The interface with jobs, below ``/api/v1``."""

from __future__ import annotations

from fastapi import APIRouter

from pgvector_restore.http import catalog_routes, history_routes, job_routes
from pgvector_restore.http.routing import PREFIX

__all__ = ["router"]

router = APIRouter(prefix=PREFIX)
router.include_router(catalog_routes.router)
router.include_router(job_routes.router)
router.include_router(history_routes.router)
