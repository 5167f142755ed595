# SPDX-License-Identifier: Apache-2.0
"""Stands in for PyTorch in Rockchip's compiler. Its ONNX path imports PyTorch for a way to quantise that is not used
here, and rearranges the channels of attention with three functions of it."""

import numpy

__version__ = "0.0.0"


def no_grad():
    return lambda function: function


def arange(*numbers):
    return numpy.arange(*numbers)


def split(tensor, sizes, dim=0):
    """sizes: how many go into each part, or into every one."""
    cuts = range(sizes, tensor.shape[dim], sizes) if isinstance(sizes, int) else numpy.cumsum(sizes)[:-1]
    return tuple(numpy.split(tensor, cuts, axis=dim))


def cat(tensors, dim=0):
    return numpy.concatenate(tensors, axis=dim)


def __getattr__(name):
    raise AttributeError(f"the stand-in for PyTorch has no {name}")
