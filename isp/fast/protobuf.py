"""The wire format of protobuf, as far as ONNX files use it: fields by number."""

from __future__ import annotations

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5  # wire types; the second of texts, bytes and messages
SIZES = {FIXED64: 8, FIXED32: 4}


def message(content: bytes | memoryview) -> list[tuple[int, bytes | memoryview | int]]:
    """The fields of a message in their order, each with its number: a varint as a number, all others as they lie there.

    ValueError or IndexError where it is none.
    """
    found: list[tuple[int, bytes | memoryview | int]] = []
    at = 0
    while at < len(content):
        tag, at = varint(content, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = varint(content, at)
            found.append((tag >> 3, value))
            continue
        if kind == LENGTH_DELIMITED:
            size, at = varint(content, at)
        elif kind in SIZES:
            size = SIZES[kind]
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(content):
            raise ValueError("cut short")
        found.append((tag >> 3, content[at : at + size]))
        at += size
    return found


def varint(content: bytes | memoryview, at: int) -> tuple[int, int]:
    """The number that begins at a byte, and where the next field does."""
    value = shift = 0
    while True:
        byte = content[at]
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
        value |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            return value, at


def field(number: int, value: bytes) -> bytes:
    """A field of a text, of bytes or of a message."""
    return _coded(number << 3 | LENGTH_DELIMITED) + _coded(len(value)) + value


def _coded(number: int) -> bytes:
    """A varint."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)
