# SPDX-License-Identifier: Apache-2.0
"""Executables that can be interrupted from their first moment on.

Importing a network's library takes seconds, in which Ctrl-C (or a launch that ends because another
node refused its configuration) would print a traceback out of the middle of it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
import os
import signal
import sys
from types import FrameType


def program(module: str) -> Callable[[], None]:
    """An entry point that imports `module` and runs its `main()`.

    An interrupt during the import ends the process quietly: nothing has begun, so nothing is lost.
    """

    def main() -> None:
        signal.signal(signal.SIGINT, _leave)
        run = import_module(module).main
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.exit(run())

    return main


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(0)
