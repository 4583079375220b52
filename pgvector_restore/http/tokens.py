"""Bearer tokens: where they come from, and what the one that a request carries may do."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from pgvector_restore.errors import OptionError
from pgvector_restore.http.settings import ServiceSettings

__all__ = ["Scope", "Tokens", "has_token", "new_token", "token_texts"]

Scope = Literal["read", "write"]

#: Shorter ones can be guessed by trying: only programs of the same machine may do so. A random one
#: has 43.
_SHORTEST = 16
#: Characters of a token as RFC 6750 has them.
_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/=")


def new_token() -> str:
    """A token nobody can guess."""
    return secrets.token_urlsafe(32)


def has_token(settings: ServiceSettings) -> bool:
    """Whether a token is configured, of either scope."""
    given = (settings.token, settings.token_file, settings.read_token, settings.read_token_file)
    return any(one is not None for one in given)


def token_texts(settings: ServiceSettings) -> Iterator[str]:
    """The tokens as they are sent, to keep them out of logs; without one that cannot be read."""
    pairs = ((settings.token, settings.token_file), (settings.read_token, settings.read_token_file))
    for token, file in pairs:
        with suppress(OptionError):
            text = _text(token, file, "token")
            if text is not None:
                yield text


class Tokens:
    """The tokens of a service, as digests.

    Raises:
        OptionError: Tokens are asked for and none is configured, or one cannot be used.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        #: Whether a token is asked for.
        self.needed = settings.auth
        write = _text(settings.token, settings.token_file, "token")
        read = _text(settings.read_token, settings.read_token_file, "read_token")
        #: Names of tokens that are short enough to be guessed.
        self.weak = tuple(
            name
            for name, text in (("token", write), ("read_token", read))
            if text is not None and len(text) < _SHORTEST
        )
        self._write = _digest(write)
        self._read = _digest(read)
        if self.needed and self._write is None and self._read is None:
            raise OptionError(
                "the service asks for a token, and none is configured",
                hint="set token, token_file or PGVECTOR_RESTORE_TOKEN",
            )
        if self._write is not None and self._write == self._read:
            raise OptionError("token and read_token are the same")

    def __repr__(self) -> str:
        return f"<Tokens, {'needed' if self.needed else 'not needed'}>"

    def scopes(self, authorization: list[bytes]) -> frozenset[Scope]:
        """What a request may do; nothing without a token that is known.

        Args:
            authorization: The values of its ``Authorization`` headers.
        """
        if not self.needed:
            return frozenset(("read", "write"))
        given = _bearer(authorization)
        # Both are compared in any case: the time tells neither which one it was nor how near.
        may_write = _same(given, self._write)
        may_read = _same(given, self._read)
        if may_write:
            return frozenset(("read", "write"))
        return frozenset(("read",)) if may_read else frozenset()


def _same(given: bytes, known: bytes | None) -> bool:
    equal = hmac.compare_digest(sha256(given).digest(), known or bytes(32))
    return equal and known is not None and bool(given)


def _bearer(authorization: list[bytes]) -> bytes:
    if len(authorization) != 1:
        return b""
    scheme, _, token = authorization[0].partition(b" ")
    return token.strip(b" ") if scheme.lower() == b"bearer" else b""


def _digest(text: str | None) -> bytes | None:
    """SHA-256 of a token."""
    return None if text is None else sha256(text.encode("ascii")).digest()


def _text(token: SecretStr | None, file: Path | None, name: str) -> str | None:
    if token is not None and file is not None:
        raise OptionError(f"{name} and {name}_file exclude each other")
    if file is not None:
        token = _read(file, name)
    if token is None:
        return None
    text = token.get_secret_value()
    if not text or not set(text) <= _CHARACTERS:
        raise OptionError(
            f"{name} is no good token",
            hint=f"use {_SHORTEST} or more letters, digits and -._~+/=, such as those of: "
            'python -c "import secrets; print(secrets.token_urlsafe(32))"',
        )
    return text


def _read(file: Path, name: str) -> SecretStr:
    try:
        with file.open(encoding="ascii", errors="replace") as opened:
            return SecretStr(opened.readline(4096).strip())
    except OSError as exc:
        raise OptionError(f"{name}_file cannot be read: {exc.strerror} ({file})") from exc
