# SPDX-License-Identifier: Apache-2.0
"""From the QDQ graph, which is the exchange form, to what a chip's compiler takes; one file a compiler."""
