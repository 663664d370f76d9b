# SPDX-License-Identifier: Apache-2.0
"""`ros2 run`: finding, arguments, signals and exit codes of an executable."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest

import ros2cli

ENDS_ON_SIGNAL = """
import signal, sys, time
from typing import Any
def end(number, frame):
    print('got', signal.Signals(number).name, flush=True)
    sys.exit(5)
signal.signal(signal.SIGINT, end)
signal.signal(signal.SIGTERM, end)
print('ready', flush=True)
time.sleep(1000)
"""


def test_arguments_and_exit_code_pass_through(package: Any) -> None:
    package.executable('show', 'import sys\nprint(sys.argv[1:])\nsys.exit(int(sys.argv[1]))\n')
    arguments = ['3', '--help', '--ros-args', '-p', 'a:=b']
    code, output = package.run('run', 'launch_test_package', 'show', *arguments)
    assert (code, output) == (3, str(arguments))
    assert package.run('run', 'launch_test_package', 'show', '0')[0] == 0


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_pass_through(package: Any, number: Any) -> None:
    package.executable('wait', ENDS_ON_SIGNAL)
    command = package.start('run', 'launch_test_package', 'wait')
    command.wait_for('ready')
    assert command.end(number) == 5
    assert command.output.endswith(f'got {number.name}')


def test_a_prefix_comes_before_the_executable(package: Any) -> None:
    package.executable('show', 'print("shown")\n')
    code, output = package.run('run', '--prefix', 'echo before', 'launch_test_package', 'show')
    assert code == 0
    assert output.startswith('before /')


def test_an_unknown_executable_is_named_with_those_there_are(package: Any) -> None:
    package.executable('one', '')
    package.executable('two', '')
    code, output = package.run('run', 'launch_test_package', 'three')
    assert code == 1
    assert "no executable 'three'; it has: one, two" in output


def test_an_unknown_package_is_named(package: Any) -> None:
    code, output = package.run('run', 'no_such_package', 'x')
    assert code == 1
    assert "'no_such_package' not found" in output
    assert 'Traceback' not in output


@pytest.mark.skipif('pip_ros' not in str(ros2cli.__file__), reason='an improvement here')
def test_a_command_in_the_background_of_a_script_takes_sigint() -> None:
    script = (
        'import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); import ros2cli.cli; '
        'ros2cli.cli.main(["--help"]); print(signal.getsignal(signal.SIGINT))'
    )
    output = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, check=True
    ).stdout
    assert 'default_int_handler' in output.splitlines()[-1]
