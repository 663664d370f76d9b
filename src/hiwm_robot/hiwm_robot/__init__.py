# SPDX-License-Identifier: Apache-2.0
"""The simulated arm, its task simulators and its scripted experts."""
