# SPDX-License-Identifier: Apache-2.0
"""torch.nn, of which the compiler only derives."""


class Module:
    pass
