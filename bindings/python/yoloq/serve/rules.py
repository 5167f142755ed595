# SPDX-License-Identifier: Apache-2.0
"""What makes a picture NG."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass

from yoloq.errors import InvalidArgument
from yoloq.result import Detection

_COMPARE = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
_RULE = re.compile(r"(?P<name>.+?)(?:(?P<sign>>=|<=|!=|>|<|=)(?P<count>\d+))?(?:@(?P<score>0?\.\d+|[01]))?")


@dataclass(frozen=True)
class NgRule:
    """NG if the number of detections of a class (None: of all) with at least this score compares so with `count`."""

    text: str
    class_id: int | None
    sign: str
    count: int
    score: float

    def is_broken_by(self, found: Sequence[Detection]) -> bool:
        number = sum(
            detection.score >= self.score and self.class_id in (None, detection.class_id) for detection in found
        )
        return _COMPARE[self.sign](number, self.count)


def parse_rule(text: str, class_names: Sequence[str]) -> NgRule:
    """CLASS, CLASS>2, CLASS!=4@0.6, *>0 …: the class's name or number, * for all; > 0 if there is no comparison."""
    parts = _RULE.fullmatch(text.strip())
    if parts is None:
        raise InvalidArgument(f"cannot read the NG rule {text!r}: write it as scratch, bolt!=4 or scratch>2@0.6")
    name = parts["name"].strip()
    if name == "*":
        class_id = None
    elif name in class_names:
        class_id = list(class_names).index(name)
    elif name.isdecimal() and int(name) < len(class_names):
        class_id = int(name)
    else:
        known = ", ".join(class_names)
        raise InvalidArgument(f"the NG rule {text!r} names {name!r}, which is no class of this package: {known}, or *")
    return NgRule(text, class_id, parts["sign"] or ">", int(parts["count"] or 0), float(parts["score"] or 0))


def broken(rules: Sequence[NgRule], found: Sequence[Detection]) -> list[str]:
    """The rules that make it NG, as they were written; none: OK."""
    return [rule.text for rule in rules if rule.is_broken_by(found)]
