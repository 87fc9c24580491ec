"""Reads what tests ask about an ELF file, which programs and libraries of Linux are."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

_PT_DYNAMIC, _PT_GNU_STACK, _PT_GNU_RELRO = 2, 0x6474E551, 0x6474E552
_PF_X = 1
_SHT_DYNSYM = 11
_DT_FLAGS, _DT_FLAGS_1, _DT_BIND_NOW = 30, 0x6FFFFFFB, 24
_DF_BIND_NOW, _DF_1_NOW = 8, 1


class Elf(NamedTuple):
    """The properties of a shared object."""

    has_relro: bool
    binds_now: bool
    stack_is_executable: bool
    sections: list[str]
    imported: list[str]
    exported: list[str]


def read_elf(path: Path) -> Elf:
    """Read a 64-bit shared object of this machine's byte order."""
    data = path.read_bytes()
    assert data[:5] == b"\x7fELF\x02", "not a 64-bit ELF file"
    phoff, shoff = struct.unpack_from("QQ", data, 32)
    phsize, phcount, shsize, shcount, names_index = struct.unpack_from("HHHHH", data, 54)

    def text(offset: int) -> str:
        return data[offset : data.index(b"\0", offset)].decode()

    segments = [struct.unpack_from("IIQQQQQQ", data, phoff + i * phsize) for i in range(phcount)]
    sections = [struct.unpack_from("IIQQQQIIQQ", data, shoff + i * shsize) for i in range(shcount)]
    stack = [flags for kind, flags, *_ in segments if kind == _PT_GNU_STACK]
    dynamic = next(segment for segment in segments if segment[0] == _PT_DYNAMIC)
    tags = dict(struct.iter_unpack("QQ", data[dynamic[2] : dynamic[2] + dynamic[5] // 16 * 16]))
    now = tags.get(_DT_FLAGS, 0) & _DF_BIND_NOW or tags.get(_DT_FLAGS_1, 0) & _DF_1_NOW

    symbols = next(section for section in sections if section[1] == _SHT_DYNSYM)
    strings = sections[symbols[6]][4]
    imported, exported = [], []
    for offset in range(symbols[4] + 24, symbols[4] + symbols[5], 24):  # the first is none
        name, _, _, index = struct.unpack_from("IBBH", data, offset)
        (exported if index else imported).append(text(strings + name))
    return Elf(
        has_relro=any(segment[0] == _PT_GNU_RELRO for segment in segments),
        binds_now=bool(now) or _DT_BIND_NOW in tags,
        stack_is_executable=not stack or bool(stack[0] & _PF_X),
        sections=[text(sections[names_index][4] + section[0]) for section in sections],
        imported=imported,
        exported=exported,
    )
