# SPDX-License-Identifier: Apache-2.0
"""Pass: every node has a name of its own, so that steps can speak of nodes by name."""

from __future__ import annotations

import onnx_ir as ir


class UniqueNames(ir.passes.InPlacePass):
    """Ensures: node names are there and unique; names that were stay. The same graph gets the same names."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        taken = {node.name for node in model.graph if node.name}
        seen: set[str] = set()
        modified = False
        for index, node in enumerate(model.graph):
            if not node.name or node.name in seen:
                name = f"{node.op_type}_{index}"
                while name in taken:
                    name += "_"
                node.name = name
                taken.add(name)
                modified = True
            seen.add(node.name)
        return ir.passes.PassResult(model, modified=modified)

    def ensures(self, model: ir.Model) -> None:
        names = [node.name for node in model.graph]
        if None in names or len(set(names)) != len(names):
            raise ir.passes.PostconditionError("node names are not unique")
