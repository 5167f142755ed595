# SPDX-License-Identifier: Apache-2.0
"""Sensitivity analysis and mixed precision: which nodes lose accuracy in INT8, what they cost, which stay in float."""
