# SPDX-License-Identifier: Apache-2.0
"""Static AIPP in NumPy: a configuration's text, strictly read, and what it makes of a picture's bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

FORMATS = {"YUV420SP_U8": 1, "XRGB8888_U8": 2, "RGB888_U8": 3, "YUV400_U8": 4}  # as the runtime numbers them
SWITCHES = ("crop", "csc_switch", "rbuv_swap_switch")
INTEGERS = {
    **{f"matrix_r{r}c{c}": (-32677, 32676) for r in range(3) for c in range(3)},
    **{f"{name}_{c}": (0, 255) for c in range(3) for name in ("input_bias", "mean_chn")},
    "related_input_rank": (0, 0),
    "src_image_size_w": (2, 4096),
    "src_image_size_h": (1, 4096),
}
HALVES = tuple(f"{name}_chn_{c}" for c in range(3) for name in ("min", "var_reci"))


class AippError(Exception):
    """What is wrong with a configuration, in one line."""


@dataclass(frozen=True)
class Aipp:
    """One operation; numbers as the chip holds them: min and var_reci are FP16."""

    format: str
    width: int
    height: int
    fields: dict[str, float]

    @staticmethod
    def parse(text: str) -> Aipp:
        body = re.fullmatch(r"\s*aipp_op\s*:?\s*\{(.*)\}\s*", re.sub(r"#.*", "", text), flags=re.S)
        if body is None:
            raise AippError("it is not one aipp_op { ... }")
        pairs = re.findall(r"(\w+)\s*:\s*(\S+)", body[1])
        if re.sub(r"(\w+)\s*:\s*(\S+)", "", body[1]).strip():
            raise AippError("something in it is no `name : value`")
        given = dict(pairs)
        if len(given) != len(pairs):
            raise AippError("a field is there twice")
        fields: dict[str, float] = dict.fromkeys((*INTEGERS, *HALVES), 0) | {f"var_reci_chn_{c}": 1 for c in range(3)}
        if given.pop("aipp_mode", None) != "static":
            raise AippError("aipp_mode is not static")
        kind = given.pop("input_format", None)
        if kind not in FORMATS:
            raise AippError(f"input_format {kind} is unknown")
        for name, value in given.items():
            fields[name] = _value(name, value)
        width, height = int(fields["src_image_size_w"]), int(fields["src_image_size_h"])
        if kind == "YUV420SP_U8" and (width % 2 or height % 2):
            raise AippError(f"{width}x{height} of YUV420SP_U8 is odd")
        return Aipp(kind, width, height, fields)

    @property
    def channels(self) -> int:
        return 1 if self.format == "YUV400_U8" else 3

    def dims(self, batch: int) -> list[int]:
        """Of what the host gives, [n, h, w, c]; NV12's rows of colour count as height."""
        if self.format == "YUV420SP_U8":
            return [batch, self.height * 3 // 2, self.width, 1]
        return [batch, self.height, self.width, {"RGB888_U8": 3, "XRGB8888_U8": 4, "YUV400_U8": 1}[self.format]]

    def run(self, data: np.ndarray) -> np.ndarray:
        """uint8 of dims() to float32 [n, c, h, w]; each result is an FP16 number."""
        x = self._channels(data).astype(np.int64)
        if self.fields.get("rbuv_swap_switch"):
            x = x[:, [0, 2, 1]] if self.format == "YUV420SP_U8" else x[:, ::-1]
        if self.fields.get("csc_switch"):
            matrix = np.array([[self.fields[f"matrix_r{r}c{c}"] for c in range(3)] for r in range(3)])
            bias = np.array([self.fields[f"input_bias_{c}"] for c in range(3)])
            x = np.einsum("rc,nchw->nrhw", matrix, x - bias.reshape(1, 3, 1, 1))
            x = np.clip(np.rint(x / 256), 0, 255)
        parts = []
        for c in range(x.shape[1]):
            low = self.fields[f"mean_chn_{c}"] + float(np.float16(self.fields[f"min_chn_{c}"]))
            parts.append((x[:, c] - low) * float(np.float16(self.fields[f"var_reci_chn_{c}"])))
        return np.stack(parts, axis=1).astype(np.float16).astype(np.float32)

    def _channels(self, data: np.ndarray) -> np.ndarray:
        if self.format == "YUV420SP_U8":
            luma = data[:, : self.height, :, 0]
            colour = data[:, self.height :, :, 0].reshape(len(data), self.height // 2, self.width // 2, 2)
            whole = colour.repeat(2, axis=1).repeat(2, axis=2)
            return np.stack([luma, whole[..., 0], whole[..., 1]], axis=1)
        planes = data.transpose(0, 3, 1, 2)
        return planes[:, 1:] if self.format == "XRGB8888_U8" else planes


def _value(name: str, text: str) -> float:
    if name in SWITCHES:
        if text not in ("true", "false"):
            raise AippError(f"{name} is neither true nor false")
        if name == "crop" and text == "true":
            raise AippError("crop is not done here")
        return float(text == "true")
    try:
        number = float(text)
    except ValueError:
        raise AippError(f"{name} : {text} is no number") from None
    if name in INTEGERS:
        low, high = INTEGERS[name]
        if number != int(number) or "." in text or not low <= number <= high:
            raise AippError(f"{name} : {text} is no whole number from {low} to {high}")
    elif name not in HALVES:
        raise AippError(f"there is no field {name}")
    elif abs(number) > 65504:
        raise AippError(f"{name} : {text} is no FP16 number")
    return number
