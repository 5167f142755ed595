# SPDX-License-Identifier: Apache-2.0
"""An Ascend chip in NumPy: deploy graphs, AIPP and the models of the doubles."""
