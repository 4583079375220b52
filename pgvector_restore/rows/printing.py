"""Payloads of COPY's binary format as text, in the server's spelling: for keys and messages."""

from __future__ import annotations

import struct
from collections.abc import Callable
from uuid import UUID

from pgvector_restore.rows.fields import Field

__all__ = ["printed", "prints"]


def _number(layout: str) -> Callable[[bytes], bytes]:
    return lambda payload: str(struct.unpack(layout, payload)[0]).encode()


#: Types whose values keys are made of.
_PRINTERS: dict[str | None, Callable[[bytes], bytes]] = {
    "bool": lambda payload: b"true" if payload[:1] == b"\1" else b"false",
    "bytea": lambda payload: b"\\x" + payload.hex().encode(),
    "int2": _number(">h"),
    "int4": _number(">i"),
    "int8": _number(">q"),
    "text": lambda payload: payload,
    "uuid": lambda payload: str(UUID(bytes=payload)).encode(),
}


def prints(wire: str | None) -> bool:
    """Whether values of the type are printed as ``::text`` has them."""
    return wire in _PRINTERS


def printed(wire: str | None, payload: Field) -> Field:
    """A payload as text; of a type that is not printed, or a malformed one, its hexadecimal digits.

    NULL stays ``None``.
    """
    if payload is None:
        return None
    printer = _PRINTERS.get(wire)
    if printer is not None:
        try:
            return printer(payload)
        except (ValueError, struct.error):
            pass
    return payload.hex().encode()
