# SPDX-License-Identifier: Apache-2.0
"""Measurements of the whole; `make bench` runs them and keeps their results."""
