# SPDX-License-Identifier: Apache-2.0
"""Which device drives during a takeover, and whether its dead-man is pressed.

The seat is empty after a takeover. The first device whose dead-man is pressed takes it and keeps it
to the end of the takeover; only one of a higher priority, pressed as well, can take it away (of two
devices of one operator the stronger drives). What any other device says counts for nothing, its
dead-man neither: when the one in the seat lets go, the takeover has ended.

A press has to be a fresh one after the scene was moved under an operator's hands: a dead-man that
was seen pressed between that moment and the next takeover is held down from before, and counts
again once it has been seen released.
"""

from __future__ import annotations

from collections.abc import Iterable
import math

from hiwm_intervention.sources import Handover, ProposalSource


class OperatorSeat:
    """The seat, and the devices that may take it.

    Args:
        devices: In any order.
        timeout: s, how long a takeover waits for a dead-man to be pressed.
    """

    def __init__(self, devices: Iterable[ProposalSource], timeout: float) -> None:
        self.devices = sorted(devices, key=lambda device: -device.settings.priority)
        self.holder: ProposalSource | None = None
        self._timeout = timeout
        self._taken_at = -math.inf
        self._wants_fresh_press = False
        self._held_down: set[str] = set()

    @property
    def in_charge(self) -> ProposalSource:
        """The device in the seat; before there is one, that of the highest priority."""
        return self.holder or self.devices[0]

    @property
    def is_aligning(self) -> bool:
        """Whether the one in the seat, or one that may take it, is a leader that can be driven."""
        devices = [self.holder] if self.holder else self.devices
        return any(device.settings.handover is Handover.ACTUATED for device in devices)

    def open(self, now: float) -> None:
        """A takeover begins: everybody has to speak anew."""
        for device in self.devices:
            device.clear()
        self.holder = None
        self._taken_at = now
        self._wants_fresh_press = False

    def empty(self) -> None:
        """The scene was moved under the operator's hands."""
        self.holder = None
        self._wants_fresh_press = True
        self._held_down.clear()

    def take(self, device: ProposalSource, now: float, *, deadman: bool) -> None:
        """A device speaks; after a silence its dead-man counts as released."""
        if not deadman or now - device.received > device.settings.timeout:
            self._held_down.discard(device.settings.name)
        if not deadman:
            return
            self._held_down.discard(device.settings.name)
        if self._wants_fresh_press:
            self._held_down.add(device.settings.name)

    def age(self, now: float) -> float:
        """Seconds since the last valid proposal of any device; NaN before the first."""
        ages = [device.age(now) for device in self.devices]
        return min((age for age in ages if not math.isnan(age)), default=math.nan)

    def update(self, now: float) -> bool:
        """See who is pressed now, during a takeover; returns whether the seat has changed hands."""
        before = self.holder
        for device in self.devices:
            if device is self.holder:
                break
            if self._is_pressed(device, now):
                self.holder = device
                break
        return self.holder is not before

    def loss(self, now: float) -> str:
        """Why the operator is lost, during a takeover; empty if they are not."""
        if self.holder is None:
            if now - self._taken_at <= self._timeout:
                return ''
            return f'nobody pressed the dead-man within {self._timeout:g} s'
        if self._is_pressed(self.holder, now):
            return ''
        if self.holder.is_fresh(now):
            return 'the operator let go of the dead-man'
        return "the samples of the operator's dead-man stay away"

    def _is_pressed(self, device: ProposalSource, now: float) -> bool:
        if not device.is_fresh(now) or device.settings.name in self._held_down:
            return False
        return device.proposal is not None and device.proposal.deadman
