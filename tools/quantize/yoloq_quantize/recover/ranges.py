# SPDX-License-Identifier: Apache-2.0
"""Range search by output error: the range of an activation is chosen by what its convolutions make of it, not by the
numbers themselves.

For each group of tensors that share a scale, candidates clip its ends; each is judged by the squared error of the
quantised convolutions that read the group, relative to the power of their output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from yoloq_quantize.params import TensorParams, range_params
from yoloq_quantize.recover.twins import float_values, make_twins
from yoloq_quantize.scheme import ActivationScheme
from yoloq_quantize.subject import Plan, Subject

PICTURES = 4
SHARES = (1.0, 0.92, 0.84, 0.76, 0.68)  # of an end's extreme
MARGIN = 0.99  # a candidate must be better than the present range by this factor


def search_ranges(
    subject: Subject, plan: Plan, extremes: Sequence[tuple[float, float]], pictures: int = PICTURES
) -> Plan:
    """A plan whose activation scales lose least at the convolutions' outputs.

    `extremes`: smallest and largest value of each group of the placement, in its order.
    """
    twins = make_twins(subject, plan)
    if not twins:
        return plan
    candidates = [
        _candidates(low, high, plan.params.activations[names[0]], subject.target.activations)
        for (low, high), names in zip(extremes, plan.placement.groups, strict=True)
    ]
    errors = [np.zeros(len(choice)) for choice in candidates]
    for values in float_values(subject, twins, subject.pictures.spread(pictures)):
        for twin in twins:
            for index, params in enumerate(candidates[twin.group]):
                errors[twin.group][index] += twin.compare(values, params)[0]
    activations = dict(plan.params.activations)
    for names, choice, error in zip(plan.placement.groups, candidates, errors, strict=True):
        best = int(np.argmin(error))
        if error[best] < MARGIN * error[0]:
            activations.update(dict.fromkeys(names, choice[best]))
    return replace(plan, params=replace(plan.params, activations=activations))


def _candidates(low: float, high: float, now: TensorParams, scheme: ActivationScheme) -> list[TensorParams]:
    """The present range first, then ranges with one end clipped, or both alike; no duplicates."""
    low, high = min(low, 0.0), max(high, 0.0)
    lows = SHARES if low < 0 else SHARES[:1]
    highs = SHARES if high > 0 else SHARES[:1]
    pairs = [(share, 1.0) for share in lows] + [(1.0, share) for share in highs] + list(zip(lows, highs, strict=False))
    found = [now]
    for low_share, high_share in pairs:
        params = range_params(low * low_share, high * high_share, scheme)
        if params not in found:
            found.append(params)
    return found
