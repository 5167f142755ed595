# SPDX-License-Identifier: Apache-2.0
"""Other toolkits' quantisers, to be measured beside ours."""
