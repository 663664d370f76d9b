# SPDX-License-Identifier: Apache-2.0
"""What the calibration programs share: how they are called, and how they end."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hiwm_core.command import run_command


def add_results(parser: argparse.ArgumentParser, picture: str) -> None:
    """The options of everything that measures."""
    parser.add_argument('--picture', type=Path, metavar='PNG', help=picture)
    parser.add_argument('--json', type=Path, metavar='FILE', help='where the figures go')


def number(low: float, high: float, kind: type = float) -> Callable[[str], Any]:
    """An argument type: a number from `low` to `high`."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
            right = low <= value <= high
        except ValueError:
            right = False
        if not right:
            raise argparse.ArgumentTypeError(f"must be {low:g} to {high:g}, not '{text}'")
        return value

    return parse


def run(name: str, act: Callable[[], int]) -> int:
    """The exit code of a program that writes at its end or not at all; see `run_command`."""
    return run_command(name, act, 'interrupted; nothing was written')
