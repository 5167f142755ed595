# SPDX-License-Identifier: Apache-2.0
"""`yoloq report`: a model in float, quantised by others and by us, measured side by side on the same pictures.

candidates (what is compared) -> make (each in a process of its own) -> measure, latency, layers, worst -> document
(report.json, all that was measured) -> plots, page (drawn from the document alone).
"""
