"""Modbus RTU as far as reading needs it: pure functions of bytes.

    request   | address | function | start hi lo | count hi lo | crc lo hi |        8 bytes
    answer    | address | function | 2·count | register 0 hi lo | ... | crc lo hi | 5 + 2·count
    refusal   | address | function + 0x80 | code | crc lo hi |                      5 bytes

Source: MODBUS over Serial Line, Specification and Implementation Guide V1.02, sections 2.5.1 and
6.2 (CRC: polynomial 0x8005 reflected, start 0xFFFF, low byte first), and MODBUS Application
Protocol V1.1b3, sections 6.3, 6.4 and 7 (functions 03 and 04, exception codes).

What a serial line adds to an answer is survived without options: noise before it (the turn-around
of RS-485), the echo of our own request (its third byte is no byte count), bytes after it. An
answer carries neither the register address nor a number of its own; see `wire` for what follows
from that.
"""

from __future__ import annotations

from typing import Final

from .errors import Checksum, Refused
from .wire import Frame, Need, Skip, Verdict

__all__ = [
    "EXCEPTIONS",
    "READ_HOLDING",
    "READ_INPUT",
    "crc16",
    "framed",
    "parse_answer",
    "read_request",
    "registers",
]

READ_HOLDING: Final = 0x03
READ_INPUT: Final = 0x04

EXCEPTIONS: Final = {
    1: "illegal function",
    2: "illegal register address",
    3: "illegal value",
    4: "device failure",
    6: "device busy",
}


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0xA001 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_CRC_TABLE: Final = _table()


def crc16(data: bytes) -> int:
    """Return the CRC-16/MODBUS of `data`; for b"123456789" it is 0x4B37."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc


def framed(body: bytes) -> bytes:
    """Return `body` with its checksum behind it, low byte first."""
    return body + crc16(body).to_bytes(2, "little")


def read_request(address: int, function: int, start: int, count: int) -> bytes:
    """Return the request for `count` registers from `start` on."""
    return framed(bytes((address, function)) + start.to_bytes(2, "big") + count.to_bytes(2, "big"))


def parse_answer(buffer: bytes, *, address: int | None, function: int, count: int) -> Verdict:
    """Judge the beginning of `buffer` as the answer with `count` registers.

    `address` None accepts an answer from any address. The payload of the frame runs
    from the function code to before the checksum; `registers` opens it.
    """
    if len(buffer) >= 1 and buffer[0] != address and address is not None:
        return Skip(1, f"0x{buffer[0]:02X} is not the address {address}")
    if len(buffer) >= 1 and not 1 <= buffer[0] <= 0xF8:
        return Skip(1, f"0x{buffer[0]:02X} is no address")
    if len(buffer) >= 2 and buffer[1] not in (function, function | 0x80):
        return Skip(1, f"the function is 0x{buffer[1]:02X}, not 0x{function:02X}")
    if len(buffer) < 3:
        return Need()
    length = 5
    if buffer[1] == function:
        if buffer[2] != 2 * count:
            return Skip(1, f"it announces {buffer[2]} bytes, not {2 * count}")
        length += 2 * count
    if len(buffer) < length:
        return Need()
    expected, came = (
        crc16(buffer[: length - 2]),
        int.from_bytes(buffer[length - 2 : length], "little"),
    )
    if came != expected:
        return Skip(1, f"its checksum is 0x{came:04X} instead of 0x{expected:04X}", Checksum)
    return Frame(length, buffer[1 : length - 2])


def registers(payload: bytes) -> bytes:
    """Return the register bytes of an answer's payload.

    Raises:
        Refused: the instrument answered with an exception.

    """
    if payload[0] & 0x80:
        code = payload[1]
        raise Refused(
            f"The meter refused function 0x{payload[0] & 0x7F:02X} with exception {code} "
            f"({EXCEPTIONS.get(code, 'not in the standard')})."
        )
    return payload[2:]
