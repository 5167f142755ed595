# SPDX-License-Identifier: Apache-2.0
"""YAML whose every value knows its line, so that an error can point at it."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from yoloq_quantize.errors import QuantizeError


@dataclass(frozen=True)
class Node:
    """A mapping (str to Node), a list of Nodes, or a plain value; `name` is its place, such as models[0].gate."""

    value: Any
    file: Path
    line: int  # from 1
    name: str

    def fail(self, problem: str) -> NoReturn:
        """Raises the one-line error about this value."""
        raise QuantizeError(f"{self.file}:{self.line}: {self.name + ': ' if self.name else ''}{problem}")

    def mapping(self, known: Collection[str], needed: Collection[str] = ()) -> dict[str, Node]:
        """The entries; refuses unknown and missing keys. An entry left empty counts as not given."""
        if not isinstance(self.value, dict):
            self.fail(f"expected keys and values, found {_short(self.value)}")
        for key, node in self.value.items():
            if key not in known:
                node.fail(f"unknown key; known here: {', '.join(sorted(known))}")
        given = {key: node for key, node in self.value.items() if node.value is not None}
        missing = [key for key in needed if key not in given]
        if missing:
            self.fail(f"'{missing[0]}' is missing; add it")
        return given

    def items(self) -> list[Node]:
        """The entries of a list; refuses an empty one."""
        if not isinstance(self.value, list) or not self.value:
            self.fail(f"expected a list with at least one entry, found {_short(self.value)}")
        return self.value

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value.strip():
            self.fail(f"expected text, found {_short(self.value)}")
        return self.value

    def path(self) -> Path:
        """Relative to the YAML file's folder; ~ is the home folder."""
        return self.file.absolute().parent / Path(self.text()).expanduser()

    def number(self, low: float = -math.inf, high: float = math.inf) -> float:
        value = self.value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            bounds = f" from {low:g} to {high:g}" if math.isfinite(high) else f" of at least {low:g}"
            self.fail(f"expected a number{bounds if math.isfinite(low) else ''}, found {_short(value)}")
        return float(value)

    def integer(self, low: int, high: int) -> int:
        value = self.number(low, high)
        if value != int(value):
            self.fail(f"expected a whole number, found {_short(self.value)}")
        return int(value)

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            self.fail(f"expected true or false, found {_short(self.value)}")
        return self.value

    def plain(self) -> Any:
        """Without lines, as yaml.safe_load would give it."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        return [node.plain() for node in self.value] if isinstance(self.value, list) else self.value


def read_tree(path: Path) -> Node:
    """Reads a YAML file; anchors, aliases and merge keys (<<) work."""
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8-sig"))
        root = loader.get_single_node()
        if root is None:
            raise QuantizeError(f"{path}:1: empty; write at least `models:`")
        return _convert(loader, root, path, "", frozenset())
    except FileNotFoundError:
        raise QuantizeError(f"{path}: no such file; give a pipeline.yaml") from None
    except OSError as error:
        raise QuantizeError(f"{path}: cannot be read ({error.strerror}); give a pipeline.yaml") from None
    except UnicodeDecodeError:
        raise QuantizeError(f"{path}: not UTF-8; save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "syntax error"
        raise QuantizeError(f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {problem}; correct this") from None


def _convert(loader: yaml.SafeLoader, node: yaml.Node, file: Path, name: str, above: frozenset[int]) -> Node:
    line = node.start_mark.line + 1
    here = Node(None, file, line, name)
    if id(node) in above:
        here.fail("contains itself; remove the alias")
    above = above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        written: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in written:
                Node(None, file, key.start_mark.line + 1, name).fail(f"'{key.value}' is there twice; remove one")
            written.add(str(key.value))
        loader.flatten_mapping(node)
        entries = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                here.fail("a key is no text; write `key: value`")
            inner = _convert(loader, value, file, f"{name}.{key.value}" if name else key.value, above)
            entries[key.value] = Node(inner.value, file, key.start_mark.line + 1, inner.name)
        return Node(entries, file, line, name)
    if isinstance(node, yaml.SequenceNode):
        return Node([_convert(loader, n, file, f"{name}[{i}]", above) for i, n in enumerate(node.value)],
                    file, line, name)  # fmt: skip
    return Node(loader.construct_object(node), file, line, name)


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "keys and values"
    return "a list" if isinstance(value, list) else repr(value)[:60]
