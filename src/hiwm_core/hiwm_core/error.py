# SPDX-License-Identifier: Apache-2.0
"""Errors that carry a sentence for a person and a code for a service response."""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """The constants of `hiwm_msgs/msg/Error`, for code that does not import messages."""

    NONE = 0
    NOT_SUPPORTED = 1
    INVALID_ARGUMENT = 2
    UNKNOWN_NODE = 3
    UNKNOWN_CHECKPOINT = 4
    UNKNOWN_BRANCH = 5
    NAME_TAKEN = 6
    NOT_PAUSED = 7
    NOT_READY = 8
    ILLEGAL_EVENT = 9
    TOKEN_HELD = 10
    STORAGE_FAULT = 11
    MODEL_FAULT = 12
    TIMED_OUT = 13
    BUSY = 14
    CANCELLED = 15
    INTERNAL_FAULT = 16


class HiwmError(Exception):
    """A refusal or a fault: `message` is one sentence that names the thing and what to do.

    Args:
        message: The sentence, shown to a person as it is.
        code: What a service answers with.
    """

    def __init__(self, message: str, code: ErrorCode = ErrorCode.INVALID_ARGUMENT) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class ConfigurationError(HiwmError):
    """A task, a parameter, a file of weights or a directory that cannot be used as it is."""
