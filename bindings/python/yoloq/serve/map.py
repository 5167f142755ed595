# SPDX-License-Identifier: Apache-2.0
"""The register map, version 1: docs/modbus.md is its manual, ResultMap of YoloQ.Modbus its twin in C#."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from yoloq.serve.inspection import Best, Inspection

VERSION = 1
SIZE = 132  # registers
MAX_CLASSES = 64
CONTROL = 128  # the first register that the PLC writes
CONTROL_COUNT = 4
ORDER_CHECK = 0x01020304
HEAD_COUNT = 5  # map_version … error: written last by a client
WORD_ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")


class Field(NamedTuple):
    """One entry: `unit` is what one step of the register is worth."""

    name: str
    address: int
    type: str
    unit: str = ""
    count: int = 1


FIELDS = (
    Field("map_version", 0, "uint16"),
    Field("heartbeat", 1, "uint16"),
    Field("state", 2, "uint16"),
    Field("status", 3, "uint16"),
    Field("error", 4, "uint16"),
    Field("class_count", 5, "uint16"),
    Field("sequence", 6, "uint32"),
    Field("judgement", 8, "uint16"),
    Field("detections", 9, "uint16"),
    Field("latency", 10, "uint16", "0.1 ms"),
    Field("best_class", 11, "int16"),
    Field("best_score", 12, "uint16", "0.0001"),
    Field("best_angle", 13, "int16", "0.01°"),
    Field("best_x", 14, "int32", "0.01 px"),
    Field("best_y", 16, "int32", "0.01 px"),
    Field("best_width", 18, "int32", "0.01 px"),
    Field("best_height", 20, "int32", "0.01 px"),
    Field("best_score_float", 22, "float32"),
    Field("best_x_float", 24, "float32", "px"),
    Field("best_y_float", 26, "float32", "px"),
    Field("best_width_float", 28, "float32", "px"),
    Field("best_height_float", 30, "float32", "px"),
    Field("best_angle_float", 32, "float32", "°"),
    Field("inspected", 34, "uint32"),
    Field("ok_total", 36, "uint32"),
    Field("ng_total", 38, "uint32"),
    Field("error_total", 40, "uint32"),
    Field("missed_triggers", 42, "uint16"),
    Field("unread_results", 43, "uint16"),
    Field("part", 44, "uint32"),
    Field("order_check", 46, "uint32"),
    Field("sequence_copy", 48, "uint32"),
    Field("class_counts", 50, "uint16", "", MAX_CLASSES),
    Field("control", CONTROL, "uint16"),
    Field("part_in", 130, "uint32"),
)
AT = {field.name: field.address for field in FIELDS}
_TYPES = {field.address: field.type for field in FIELDS}

STATUS_BITS = ("ready", "busy", "valid", "ok", "ng", "error", "alarm", "missed", "heartbeat_bit")
CONTROL_BITS = ("trigger", "acknowledge", "reset_counters", "reset_error")
STATUS = {name: 1 << bit for bit, name in enumerate(STATUS_BITS)}
CONTROLS = {name: 1 << bit for bit, name in enumerate(CONTROL_BITS)}

COIL_WORDS = (CONTROL, AT["status"])  # coil c is bit c % 16 of register COIL_WORDS[c // 16]
INPUT_WORDS = (AT["status"],)

_LIMITS = {"uint16": (0, 0xFFFF), "int16": (-0x8000, 0x7FFF), "int32": (-(2**31), 2**31 - 1)}


def put32(words: list[int], at: int, data: bytes, order: str) -> None:
    """Stores four big-endian bytes, named ABCD, in two registers in the order given."""
    turned = bytes(data["ABCD".index(letter)] for letter in order)
    words[at : at + 2] = struct.unpack(">2H", turned)


def get32(words: list[int], at: int, order: str) -> bytes:
    """The four bytes, big-endian, that two registers hold in the order given."""
    stored = struct.pack(">2H", *words[at : at + 2])
    return bytes(stored[order.index(letter)] for letter in "ABCD")


def put_uint32(words: list[int], name: str, value: int, order: str) -> None:
    put32(words, AT[name], struct.pack(">I", value & 0xFFFFFFFF), order)


def fixed(value: float, scale: float, kind: str) -> int:
    """value * scale, rounded half to even, cut to what the type holds; NaN gives 0."""
    low, high = _LIMITS[kind]
    scaled = value * scale
    if math.isnan(scaled):
        return 0
    return round(min(max(scaled, low), high))


def new_words(order: str) -> list[int]:
    """The registers before the first result."""
    words = [0] * SIZE
    words[AT["map_version"]] = VERSION
    words[AT["best_class"]] = 0xFFFF
    put_uint32(words, "order_check", ORDER_CHECK, order)
    return words


def encode(result: Inspection, words: list[int], order: str) -> None:
    """Fills what a result alone decides: counts and best detection. The rest is the handshake's."""
    shown = [min(max(count, 0), 0xFFFF) for count in result.counts[:MAX_CLASSES]]
    start = AT["class_counts"]
    words[start : start + MAX_CLASSES] = shown + [0] * (MAX_CLASSES - len(shown))
    words[AT["class_count"]] = len(shown)
    words[AT["detections"]] = min(sum(max(count, 0) for count in result.counts), 0xFFFF)
    best = result.best or Best(-1, 0, 0, 0, 0, 0)
    words[AT["best_class"]] = fixed(best.class_id, 1, "int16") & 0xFFFF
    values = {"score": best.score, "x": best.x, "y": best.y, "width": best.width, "height": best.height}
    for name, value in (values | {"angle": best.angle}).items():
        single = struct.unpack(">f", struct.pack(">f", value))[0]  # both forms tell the same number
        put32(words, AT[f"best_{name}_float"], struct.pack(">f", single), order)
        address = AT[f"best_{name}"]
        scaled = fixed(single, 10000 if name == "score" else 100, _TYPES[address])
        if _TYPES[address] == "int32":
            put32(words, address, struct.pack(">i", scaled), order)
        else:
            words[address] = scaled & 0xFFFF
