# SPDX-License-Identifier: Apache-2.0
"""Static AIPP: how Ascend turns a picture's bytes into the model's input, before the first layer.

out = (byte after swap and colour conversion - mean - min) * var_reci; the vendor's text format.
"""

from __future__ import annotations

from yoloq_quantize.errors import QuantizeError

FORMATS = {"RGB": "RGB888_U8", "BGR": "RGB888_U8", "NV12": "YUV420SP_U8", "GRAY8": "YUV400_U8"}
# Rows of the matrix to R, G and B in 1/256, and what is taken off Y, U and V first: BT.601, studio and full range.
LIMITED = ((298, 0, 409), (298, -100, -208), (298, 516, 0)), (16, 128, 128)
FULL = ((256, 0, 359), (256, -88, -183), (256, 454, 0)), (0, 128, 128)


def aipp(
    width: int, height: int, pixel: float, given: str = "RGB", model: str = "RGB", full_range: bool = False
) -> str:
    """The configuration's text. width, height: in pixels. pixel: what a byte is multiplied by. given: the picture's
    format, of FORMATS; model: the order of the model's channels, "RGB" or "BGR" (GRAY8: a model of one channel).
    full_range: of NV12."""
    if given not in FORMATS:
        raise QuantizeError(f"AIPP takes no {given!r}; known: {', '.join(FORMATS)}")
    if given == "NV12" and (width % 2 or height % 2):
        raise QuantizeError(f"NV12 pictures have even sides, not {width}x{height}")
    lines = [
        "related_input_rank : 0",
        "aipp_mode : static",
        f"input_format : {FORMATS[given]}",
        f"src_image_size_w : {width}",
        f"src_image_size_h : {height}",
        "crop : false",
    ]
    if given == "NV12":
        lines += _conversion(model, *(FULL if full_range else LIMITED))
    else:
        swapped = given != "GRAY8" and given != model
        lines += ["csc_switch : false", f"rbuv_swap_switch : {str(swapped).lower()}"]
    for channel in range(1 if given == "GRAY8" else 3):
        lines += [f"mean_chn_{channel} : 0", f"min_chn_{channel} : 0.0", f"var_reci_chn_{channel} : {pixel:.8f}"]
    return "aipp_op {\n" + "".join(f"  {line}\n" for line in lines) + "}\n"


def _conversion(model: str, matrix: tuple[tuple[int, ...], ...], bias: tuple[int, ...]) -> list[str]:
    rows = matrix if model == "RGB" else matrix[::-1]
    lines = ["csc_switch : true", "rbuv_swap_switch : false"]
    lines += [f"matrix_r{r}c{c} : {value}" for r, row in enumerate(rows) for c, value in enumerate(row)]
    return lines + [f"input_bias_{index} : {value}" for index, value in enumerate(bias)]
