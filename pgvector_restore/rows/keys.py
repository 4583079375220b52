"""Keys by value: one form for each, however it is spelled.

A form is made by what the type's input function makes of a cell, so that two cells have one form
where the server finds their values equal, and two where it does not. A spelling that is too unusual
to be read here has none: then nothing is said of the cell, and the server judges.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from functools import partial

from pgvector_restore.column_types import key_form
from pgvector_restore.rows.canonical import limited_field, rounded_field
from pgvector_restore.rows.encoder import SPACE, complete
from pgvector_restore.rows.fields import Field
from pgvector_restore.rows.problem import CellProblem
from pgvector_restore.rows.records import Fields
from pgvector_restore.rows.scalars import SCALARS
from pgvector_restore.target import KeyForm, KeyKind, TargetColumn

__all__ = [
    "KeyOf",
    "form_of_column",
    "key_of_cell",
    "key_of_payload",
    "key_values",
    "lookup",
    "orphans",
    "records_with",
]

#: A cell, or a payload, to the form of its value; ``None``: it cannot be told here.
KeyOf = Callable[[bytes], bytes | None]

#: Spellings of keys are remembered up to so many; there may be millions of one value.
_MAX_SPELLINGS = 400_000

#: What no cell begins with, before what is compared as it stands.
_RAW = b"\x00"

#: Bytes of a field's length.
_HEAD = 4


def form_of_column(column: TargetColumn) -> KeyForm | None:
    """How values of a column are compared; a domain is what lies under it, if that can be told.

    Of text it is supposed that equal are equal bytes.
    """
    found = key_form(column.type_name)
    if found is not None or column.wire is None:
        return found
    if column.blank_padded:
        return KeyForm("character")
    kind = _BY_WIRE.get(column.wire)
    return KeyForm(kind, column.modifier) if kind is not None else None


_BY_WIRE: dict[str, KeyKind] = {
    "bool": "bool",
    "bytea": "bytea",
    "date": "date",
    "float4": "float4",
    "float8": "float8",
    "int2": "integer",
    "int4": "integer",
    "int8": "integer",
    "text": "text",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
    "uuid": "uuid",
}


# From cells --------------------------------------------------------------------------------------


def key_of_cell(form: KeyForm) -> KeyOf:
    """What makes the form of cells."""
    read = _READ.get(form.kind)
    return partial(read, form.modifier) if read is not None else partial(_encoded, form)


def _encoded(form: KeyForm, cell: bytes) -> bytes | None:
    """By the payload that an encoder makes; it reads no spelling but usual ones."""
    try:
        payload = SCALARS[_ENCODER.get(form.kind, form.kind)].one(cell)
    except CellProblem:
        # Of a UUID every spelling is read: what is none is no key of any row.
        return _RAW + cell if form.kind == "uuid" else None
    return _of_payload(form, payload)


#: Where the encoder has another name than the kind.
_ENCODER = {"character": "text", "integer": "int8"}


def _numeric(scale: int | None, cell: bytes) -> bytes | None:
    text = cell.strip(SPACE)
    if _NUMBER.fullmatch(text) is None:
        return _NO_NUMBERS.get(text.lower())
    try:
        number = Decimal(text.decode())
        if abs(number.adjusted()) > _MOST_DIGITS or len(text) > _MOST_DIGITS:
            return None
        if scale is not None:
            number = number.quantize(Decimal(1).scaleb(-scale), context=_EXACT)
    except InvalidOperation:
        return None
    sign, digits, exponent = number.as_tuple()
    plain = "".join(map(str, digits)).lstrip("0")
    kept = plain.rstrip("0")
    if not kept:
        return b"0"
    power = int(exponent) + len(plain) - len(kept)
    return f"{'-' if sign else ''}{kept}e{power}".encode()


_NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,9})?")
_NO_NUMBERS = {b"nan": b"nan"} | {
    sign + word: kept
    for word in (b"inf", b"infinity")
    for sign, kept in ((b"", b"inf"), (b"+", b"inf"), (b"-", b"-inf"))
}
#: Longer numbers are left to the server.
_MOST_DIGITS = 2000
#: Half away from zero, as ``round_var`` in numeric.c.
_EXACT = Context(prec=2 * _MOST_DIGITS, rounding=ROUND_HALF_UP, Emax=999_999, Emin=-999_999)


def _address(_: int | None, cell: bytes) -> bytes | None:
    """An address in full, with or without the length of its network."""
    text, slash, bits = cell.strip(SPACE).decode("latin-1").partition("/")
    if "%" in text or (slash and not _BITS.fullmatch(bits)):
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    length = int(bits) if slash else address.max_prefixlen
    return address.packed + bytes([length]) if length <= address.max_prefixlen else None


_BITS = re.compile("[0-9]{1,3}")


def _hardware(_: int | None, cell: bytes) -> bytes | None:
    text = cell.strip(SPACE).lower()
    return text.translate(None, b":-.") if _MAC.fullmatch(text) else None


_MAC = re.compile(
    rb"[0-9a-f]{2}(?:(?::[0-9a-f]{2}){5}|(?:-[0-9a-f]{2}){5}|[0-9a-f]{10})"
    rb"|[0-9a-f]{6}[:-][0-9a-f]{6}|[0-9a-f]{4}(?:(?:\.[0-9a-f]{4}){2}|(?:-[0-9a-f]{4}){2})"
)


def _bits(_: int | None, cell: bytes) -> bytes | None:
    return cell if not cell.translate(None, b"01") else None


def _as_is(_: int | None, cell: bytes) -> bytes:
    return cell


#: Kinds whose cells are read here, and no encoder is asked.
_READ: dict[KeyKind, Callable[[int | None, bytes], bytes | None]] = {
    "bit": _bits,
    "enum": _as_is,
    "inet": _address,
    "macaddr": _hardware,
    "numeric": _numeric,
}


# From payloads -----------------------------------------------------------------------------------


def key_of_payload(form: KeyForm, wire: str | None) -> KeyOf | None:
    """What makes the form of payloads of a type; ``None``: it cannot be made of them."""
    return partial(_of_sent, form, wire) if _BY_WIRE.get(wire or "") is not None else None


def _of_sent(form: KeyForm, wire: str | None, payload: bytes) -> bytes | None:
    layout = _INTEGERS.get(wire or "")
    if layout is not None:
        return _integer(layout, payload)
    return _of_payload(form, payload)


#: Layouts of integers by type.
_INTEGERS = {"int2": ">h", "int4": ">i", "int8": ">q"}


def _integer(layout: str, payload: bytes) -> bytes | None:
    if len(payload) != struct.calcsize(layout):
        return None
    return str(struct.unpack(layout, payload)[0]).encode()


def _of_payload(form: KeyForm, payload: bytes) -> bytes | None:
    if form.kind == "integer":
        return _integer(">q", payload)
    if form.kind == "character":
        return payload.rstrip(b" ")
    layout = _FLOATS.get(form.kind)
    if layout is not None:
        # Both zeros are one value, and every NaN.
        return repr(struct.unpack(layout, payload)[0] + 0.0).encode()
    fitted = _FITTED.get(form.kind)
    if fitted is None or form.modifier is None:
        return payload
    return fitted(form.modifier, complete(payload))[_HEAD:]


_FLOATS = {"float4": ">f", "float8": ">d"}
#: What a column's modifier makes of a field.
_FITTED = {"text": limited_field, "timestamp": rounded_field, "timestamptz": rounded_field}


# Cells against keys ------------------------------------------------------------------------------


def orphans(
    cells: Sequence[Field],
    keys: set[bytes] | frozenset[bytes],
    key_of: KeyOf,
    spellings: set[bytes],
) -> list[int]:
    """Indexes of cells that are certainly none of the keys; NULL refers to nothing.

    Args:
        cells: As they stand in the file.
        keys: Forms of the keys.
        key_of: What makes the form of a cell.
        spellings: Cells that are known to be keys; those that turn out to be are added.
    """
    strangers = set()
    for cell in dict.fromkeys(cells):  # each once
        if cell is None or cell in spellings:
            continue
        key = key_of(cell)
        if key is not None and key not in keys:
            strangers.add(cell)
        elif len(spellings) < _MAX_SPELLINGS:
            spellings.add(cell)
    return [i for i, cell in enumerate(cells) if cell in strangers] if strangers else []


def lookup(
    keys: Iterable[tuple[str, ...]], forms: Sequence[KeyForm | None]
) -> dict[tuple[bytes, ...], tuple[str, ...]]:
    """Keys by the forms of their cells.

    Args:
        keys: As the server prints them.
        forms: How each column is compared; ``None``: as it is spelled.
    """
    makers = [_certain(form) for form in forms]
    found = {}
    for key in keys:
        form = tuple(make(text.encode()) for make, text in zip(makers, key, strict=True))
        found[form] = key
    return found


def _certain(form: KeyForm | None) -> Callable[[bytes], bytes]:
    """The form of a cell, or the cell itself where that cannot be told."""
    if form is None:
        return lambda cell: _RAW + cell
    key_of = key_of_cell(form)

    def make(cell: bytes) -> bytes:
        key = key_of(cell)
        return _RAW + cell if key is None else key

    return make


def records_with(
    batches: Iterable[Fields],
    places: Sequence[int],
    keys: Mapping[tuple[bytes, ...], tuple[str, ...]],
    forms: Sequence[KeyForm | None],
    left_out: Iterable[int],
    printers: Sequence[Callable[[Sequence[bytes]], Sequence[bytes]]] | None = None,
) -> list[tuple[int, tuple[str, ...]]]:
    """Records whose cells at these places are one of the keys, with that key.

    Args:
        batches: The records.
        places: Places of the key's columns.
        keys: From :func:`lookup`.
        forms: The same as there.
        left_out: Numbers of records that do not count.
        printers: By column, what the server prints for cells; asked where there is no form.
    """
    makers = [_certain(form) for form in forms]
    without = set(left_out)
    found = []
    for fields in batches:
        columns: list[Sequence[bytes]] = [
            [cell or b"" for cell in fields.columns[place]] for place in places
        ]
        rows = range(fields.first_record, fields.first_record + len(fields))
        good = [i for i, record in enumerate(rows) if record not in without]
        if len(good) < len(rows):
            columns = [[column[i] for i in good] for column in columns]
        for place, form in enumerate(forms):
            if form is None and printers is not None:
                distinct = [cell for cell in dict.fromkeys(columns[place]) if cell]
                printed = dict(zip(distinct, printers[place](distinct), strict=True))
                columns[place] = [printed.get(cell, cell) for cell in columns[place]]
        made = [list(map(make, column)) for make, column in zip(makers, columns, strict=True)]
        for i, cells in zip(good, zip(*made, strict=True), strict=True):
            if (key := keys.get(cells)) is not None:
                found.append((rows[i], key))
    return found


def key_values(column: TargetColumn, cells: Sequence[Field]) -> Sequence[Field]:
    """Forms of the cells of a key column; NULL is none, and odd spellings stay what they are."""
    if column.not_null and column.kind == "text":
        cells = [cell or b"" for cell in cells]
    form = form_of_column(column)
    if form is None or form == KeyForm("text"):
        return cells
    encoder = SCALARS.get(column.wire or "")
    if form.kind == "uuid" and encoder is not None and encoder.many is not None:
        done = encoder.many([cell for cell in cells if cell is not None])
        if done is not None:
            present = iter(done)
            return [None if cell is None else next(present)[_HEAD:] for cell in cells]
    make = _certain(form)
    return [None if cell is None else make(cell) for cell in cells]
