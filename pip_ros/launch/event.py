# SPDX-License-Identifier: Apache-2.0
"""The base of events."""

from __future__ import annotations


class Event:
    """Something that happened, which event handlers may act on."""

    name = 'launch.Event'
