# SPDX-License-Identifier: Apache-2.0
"""The package's nodes as executables; see `hiwm_core.program`."""

from __future__ import annotations

from hiwm_core.program import program

policy = program('hiwm_policy.policy_node')
