# SPDX-License-Identifier: Apache-2.0
"""The registers that Modbus peers see, behind one lock: a request sees, and makes, a change whole or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable

from yoloq.serve import map as registers


class Bank:
    """Holding and input registers are the same words; coils and discrete inputs are bits of some of them. Thread-safe;
    `lock` may be held to do several things as one."""

    def __init__(self, order: str):
        self.lock = threading.RLock()
        self.words = registers.new_words(order)
        self.on_control: Callable[[object], None] = lambda peer: None
        """Called after a peer has written `control`, inside the lock."""

    def read(self, address: int, count: int) -> list[int] | None:
        """The registers as they are at one moment; None: not all of them exist."""
        if count < 1 or address + count > len(self.words):
            return None
        with self.lock:
            return self.words[address : address + count]

    def read_bits(self, address: int, count: int, inputs: bool) -> list[bool] | None:
        """Discrete inputs, or coils; None: not all of them exist."""
        places = registers.INPUT_WORDS if inputs else registers.COIL_WORDS
        if count < 1 or address + count > 16 * len(places):
            return None
        with self.lock:
            return [bool(self.words[places[i // 16]] >> (i % 16) & 1) for i in range(address, address + count)]

    def write(self, address: int, values: list[int], peer: object) -> bool:
        """A peer's write. False: not all of them exist and may be written; then nothing is."""
        end = registers.CONTROL + registers.CONTROL_COUNT
        if not values or address < registers.CONTROL or address + len(values) > end:
            return False
        with self.lock:
            self.words[address : address + len(values)] = values
            if address == registers.CONTROL:
                self.on_control(peer)
        return True

    def write_bits(self, address: int, values: list[bool], peer: object) -> bool:
        """A peer's write of coils: bits of `control` only. False: as for write()."""
        if not values or address + len(values) > 16:
            return False
        with self.lock:
            word = self.words[registers.CONTROL]
            for bit, value in enumerate(values, address):
                word = word | 1 << bit if value else word & ~(1 << bit)
            return self.write(registers.CONTROL, [word], peer)
