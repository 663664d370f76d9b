# SPDX-License-Identifier: Apache-2.0
"""The package's nodes and tools as executables; see `hiwm_core.program`."""

from __future__ import annotations

from hiwm_core.program import program

action_mux = program('hiwm_intervention.action_mux_node')
console = program('hiwm_intervention.console_node')
keyboard = program('hiwm_intervention.keyboard_node')
recorder = program('hiwm_intervention.recorder_node')
recover = program('hiwm_intervention.recover')
report = program('hiwm_intervention.report')
