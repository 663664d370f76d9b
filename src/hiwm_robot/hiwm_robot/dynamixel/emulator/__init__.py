# SPDX-License-Identifier: Apache-2.0
"""Emulated X-series servos on a bus that the vendor's own SDK talks to, with faults by command."""
