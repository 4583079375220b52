"""Folders that may not be read: root may read all of them, so it does without that right."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: ``_LINUX_CAPABILITY_VERSION_3`` and the bits of ``CAP_DAC_OVERRIDE`` and ``CAP_DAC_READ_SEARCH``.
_VERSION, _READ_ALL = 0x20080522, 1 << 1 | 1 << 2


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = tuple(
        (f"{name}{half}", ctypes.c_uint32)
        for half in ("", "_high")
        for name in ("effective", "permitted", "inheritable")
    )


@contextmanager
def without_reading_all() -> Iterator[None]:
    """This thread, and threads it starts, may read what modes of folders let its user read."""
    if sys.platform != "linux" or os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, held = _Header(_VERSION, 0), _Sets()
    assert libc.capget(ctypes.byref(header), ctypes.byref(held)) == 0
    less = _Sets.from_buffer_copy(held)
    less.effective &= ~_READ_ALL
    assert libc.capset(ctypes.byref(header), ctypes.byref(less)) == 0
    try:
        yield
    finally:
        assert libc.capset(ctypes.byref(header), ctypes.byref(held)) == 0


@contextmanager
def locked(*folders: Path) -> Iterator[None]:
    """Folders, made if need be, that may be neither read nor entered until the block ends."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0)
    try:
        with without_reading_all():
            try:
                list(folders[0].iterdir())
            except PermissionError:
                yield
            else:
                pytest.skip("every folder may be read here")
    finally:
        for folder in folders:
            folder.chmod(0o700)
