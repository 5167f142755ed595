# SPDX-License-Identifier: Apache-2.0
"""Accuracy recovery without training: each step takes a Subject and a Plan and returns a better one."""
