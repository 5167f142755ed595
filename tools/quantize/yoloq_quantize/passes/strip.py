# SPDX-License-Identifier: Apache-2.0
"""Pass: what does not compute goes, so that equal graphs have equal bytes."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass, RemoveUnusedOpsetsPass


class Strip(ir.passes.InPlacePass):
    """Ensures: nodes in topological order, none unused; no metadata, no doc strings; yoloq named as the producer."""

    def __init__(self, producer: str, version: str) -> None:
        self.producer, self.version = producer, version

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        RemoveUnusedNodesPass()(model)
        RemoveUnusedOpsetsPass()(model)
        ClearMetadataAndDocStringPass()(model)
        model.graph.sort()
        model.metadata_props.clear()
        model.graph.name = "yoloq"
        model.doc_string = model.domain = model.model_version = None
        model.producer_name, model.producer_version = self.producer, self.version
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        if model.metadata_props or model.doc_string:
            raise ir.passes.PostconditionError("metadata is left")
