# SPDX-License-Identifier: Apache-2.0
"""Learned recovery, by PyTorch (extra `yoloq[train]`), which only this package and `swap` import."""
