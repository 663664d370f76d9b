# SPDX-License-Identifier: Apache-2.0
"""How commands end: their own exit code, a refusal, an interrupt."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hiwm_core.command import run_command
from hiwm_core.error import ConfigurationError


def raising(error: BaseException) -> Callable[[], int]:
    def act() -> int:
        raise error

    return act


@pytest.mark.parametrize(
    ('act', 'code', 'said'),
    [
        (lambda: 0, 0, ''),
        (lambda: 3, 3, ''),
        (raising(ConfigurationError('a file is missing')), 1, 'copy: a file is missing\n'),
        (raising(KeyboardInterrupt()), 130, '\ncopy: half of it is there\n'),
    ],
)
def test_the_exit_code_and_what_is_said(
    act: Callable[[], int], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command('copy', act, 'half of it is there') == code
    assert capsys.readouterr() == ('', said)


def test_an_interrupt_that_leaves_nothing_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command('copy', raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr() == ('', '')


def test_a_fault_of_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command('copy', raising(ZeroDivisionError()))
