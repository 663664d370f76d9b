# SPDX-License-Identifier: Apache-2.0
"""Nobody drives unrecorded: where a session has a recorder, the wheel is given once it records."""

from __future__ import annotations

from hiwm_core.error import ErrorCode, HiwmError


class RecordingGate:
    """Whether somebody may drive, as far as the record goes.

    Args:
        waits: Closed until the recorder says for the first time that it records.
    """

    def __init__(self, *, waits: bool) -> None:
        self._has_begun = not waits
        self._fault = ''

    @property
    def is_open(self) -> bool:
        """Whether all that is done is recorded, or nobody wants it to be."""
        return self._has_begun and not self._fault

    def see(self, recording: bool, fault: str) -> bool:
        """The recorder's state; returns whether it has failed since the last one."""
        self._has_begun = self._has_begun or recording
        before, self._fault = self._fault, fault
        return bool(fault) and fault != before

    def check(self) -> None:
        """Somebody wants to drive.

        Raises:
            HiwmError: NOT_READY before the recording, STORAGE_FAULT after it has failed.
        """
        if self._fault:
            raise HiwmError(
                f'nothing is recorded any more ({self._fault}); begin another session',
                ErrorCode.STORAGE_FAULT,
            )
        if not self._has_begun:
            raise HiwmError(
                'the recorder does not hear every topic of the rig yet; ask again once it records',
                ErrorCode.NOT_READY,
            )
