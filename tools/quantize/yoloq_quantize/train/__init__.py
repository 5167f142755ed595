# SPDX-License-Identifier: Apache-2.0
"""Learned recovery, by PyTorch (extra `yoloq[train]`): nothing outside this package imports torch."""
