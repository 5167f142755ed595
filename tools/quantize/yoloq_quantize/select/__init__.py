# SPDX-License-Identifier: Apache-2.0
"""Chooses calibration pictures from a big folder, and says what is wrong with a set."""
