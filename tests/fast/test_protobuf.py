"""The wire format against Google's own package, where it is installed, and what is no message."""

from __future__ import annotations

import pytest

from isp.fast.protobuf import field, message, varint


@pytest.mark.parametrize(("value", "coded"), [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")])
def test_varints(value: int, coded: bytes) -> None:
    """The last is the example of the format's description."""
    assert varint(coded, 0) == (value, len(coded))


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20000])
def test_fields_are_read_as_they_were_written(size: int) -> None:
    content = field(1, b"a" * size) + field(200, b"b")
    assert [(number, bytes(value)) for number, value in message(content)] == [(1, b"a" * size), (200, b"b")]  # type: ignore[arg-type]


def test_it_is_what_onnx_writes() -> None:
    onnx = pytest.importorskip("onnx")
    attribute = onnx.helper.make_attribute("alpha", 0.25)
    fields = dict(message(attribute.SerializeToString()))
    assert bytes(fields[1]) == b"alpha"
    assert bytes(fields[2]) == b"\x00\x00\x80>"  # little-endian float32
    assert fields[20] == onnx.AttributeProto.FLOAT


@pytest.mark.parametrize("content", [b"\x0a", b"\x0a\x05abc", b"\x0d\x00", b"\x80", b"\x0b", b"\x08" + b"\xff" * 1000])
def test_what_is_none_is_refused(content: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        message(content)
