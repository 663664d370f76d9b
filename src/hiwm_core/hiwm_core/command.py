# SPDX-License-Identifier: Apache-2.0
"""How a command ends, whatever it does: by an exit code, and never by a traceback of ours."""

from __future__ import annotations

import argparse
from collections.abc import Callable
import sys
from typing import NoReturn

from hiwm_core.error import HiwmError

FAILED = 1
INTERRUPTED = 130  # as a shell says it of SIGINT


class Parser(argparse.ArgumentParser):
    """Refuses with one sentence instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f'{self.prog}: {message}; see --help\n')


def run_command(name: str, act: Callable[[], int], interrupted: str = '') -> int:
    """The exit code of a command.

    Args:
        name: The command's, before every sentence.
        act: Does the work and returns its exit code.
        interrupted: What is said after Ctrl-C, in a line of its own; empty: nothing.

    Returns:
        What `act` returns; FAILED after a HiwmError, whose sentence is said on stderr; INTERRUPTED
        after Ctrl-C.
    """
    try:
        return act()
    except HiwmError as error:
        print(f'{name}: {error.message}', file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        if interrupted:
            print(f'\n{name}: {interrupted}', file=sys.stderr)
        return INTERRUPTED
