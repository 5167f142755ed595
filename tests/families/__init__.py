# SPDX-License-Identifier: Apache-2.0
"""Detectors that others ship, and pictures whose truth is exact: what the proof `quantisation` judges."""
