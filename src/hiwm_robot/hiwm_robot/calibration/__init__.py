# SPDX-License-Identifier: Apache-2.0
"""Tools that measure a rig once: its camera and table, its leader arm, its servos."""
