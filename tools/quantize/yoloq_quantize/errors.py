# SPDX-License-Identifier: Apache-2.0
"""What a user can do something about; everything else is a bug and keeps its traceback."""


class QuantizeError(Exception):
    """A bad model, folder, option or file. The text is one line and says what to do."""
