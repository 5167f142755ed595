# SPDX-License-Identifier: Apache-2.0
"""`yoloq pipeline`: from a trained model to a checked package at its destination, described by one YAML file."""
