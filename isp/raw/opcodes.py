"""Opcode lists. Written in full by its owner; the contract is these names."""
from __future__ import annotations
from dataclasses import dataclass

@dataclass(frozen=True, eq=False)
class Opcode:
    """One opcode of a DNG opcode list."""

def parse_opcode_list(data: bytes) -> tuple[Opcode, ...]:
    return ()

def pack_opcode_list(opcodes: tuple[Opcode, ...]) -> bytes:
    return b"\0\0\0\0"
