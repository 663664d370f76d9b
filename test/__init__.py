# SPDX-License-Identifier: Apache-2.0
"""Tests of the whole: the rig contract, a session from end to end, its page in a browser."""
