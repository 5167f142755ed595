# SPDX-License-Identifier: Apache-2.0
"""`yoloq serve`: inspections for a PLC over Modbus TCP. docs/modbus.md has the registers and the handshake."""
