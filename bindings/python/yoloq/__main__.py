# SPDX-License-Identifier: Apache-2.0
"""`python -m yoloq` is the command `yoloq`."""

import sys

from yoloq.cli import main

sys.exit(main())
