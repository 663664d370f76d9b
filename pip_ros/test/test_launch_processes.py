# SPDX-License-Identifier: Apache-2.0
"""Real processes under `ros2 launch`: output, signals, exit codes, respawn, death."""

from __future__ import annotations

import os
from pathlib import Path
import re
import shlex
import signal
import subprocess
from typing import Any

import pytest

import launch

STAND_IN = 'pip_ros' in str(launch.__file__)
only_stand_in = pytest.mark.skipif(not STAND_IN, reason='an improvement of the stand-in')

# Prints what it is told by signals; ends on the third one, of whatever kind.
STUBBORN = """
import os, signal, sys, time
from typing import Any
def tell(number, frame):
    print('got', signal.Signals(number).name, flush=True)
    if signal.Signals(number).name in sys.argv[1:]:
        sys.exit(7)
signal.signal(signal.SIGINT, tell)
signal.signal(signal.SIGTERM, tell)
print('ready', os.getpid(), os.getpgrp(), flush=True)
while True:
    time.sleep(0.05)
"""
STUBBORN_LAUNCH = """
return LaunchDescription([
    ExecuteProcess(cmd=[sys.executable, '-c', {script!r}, {ends_on!r}], name='stubborn',
                   output='screen', sigterm_timeout={sigterm!r}, sigkill_timeout={sigkill!r}),
])
"""


def stubborn(ends_on: str) -> str:
    # What ends on a signal must have the time for it on a busy machine.
    return STUBBORN_LAUNCH.format(
        script=STUBBORN,
        ends_on=ends_on,
        sigterm='20' if ends_on == 'SIGINT' else '0.5',
        sigkill='20' if ends_on != 'nothing' else '0.5',
    )


def pid_of(line: str) -> int:
    found = re.search(r'ready (\d+)', line)
    assert found is not None
    return int(found.group(1))


def test_output_goes_to_the_screen_with_the_name_before_each_line(package: Any) -> None:
    code, output = package.launch("""
        return LaunchDescription([
            ExecuteProcess(cmd=['sh', '-c', 'echo out; printf "no newline"; echo err >&2'],
                           name='talker', output='screen'),
        ])
        """)
    assert code == 0
    for line in ('[talker-1] out', '[talker-1] no newline', '[talker-1] err'):
        assert line in output.splitlines()
    assert re.search(r'^\[INFO\] \[talker-1\]: process started with pid \[\d+\]$', output, re.M)
    assert re.search(
        r'^\[INFO\] \[talker-1\]: process has finished cleanly \[pid \d+\]$', output, re.M
    )


def test_output_log_keeps_stdout_off_the_screen(package: Any) -> None:
    code, output = package.launch("""
        return LaunchDescription([
            ExecuteProcess(cmd=['sh', '-c', 'echo quiet; echo loud >&2'], name='talker'),
        ])
        """)
    assert code == 0
    assert 'quiet' not in output
    assert '[talker-1] loud' in output
    assert '[talker-1] quiet' in package.launch_log()
    assert '[talker-1] loud' in package.launch_log()


def test_a_setting_shows_all_output(package: Any) -> None:
    body = "return LaunchDescription([ExecuteProcess(cmd=['echo', 'quiet'], name='talker')])"
    assert '[talker-1] quiet' in package.launch(body, '-a')[1]


def test_much_output_arrives_whole(package: Any) -> None:
    code, output = package.launch("""
        return LaunchDescription([
            ExecuteProcess(cmd=['seq', '-f', 'line %.0f', '20000'], name='talker', output='screen'),
        ])
        """)
    assert code == 0
    lines = [line for line in output.splitlines() if line.startswith('[talker-1] ')]
    assert lines == [f'[talker-1] line {number}' for number in range(1, 20001)]


def test_a_process_gets_its_environment_folder_terminal_and_prefix(
    package: Any, tmp_path: Any
) -> None:
    package.env['KEPT'] = 'kept'
    code, output = package.launch(f"""
        show = 'echo $KEPT $SET $ADDED $(pwd) $(test -t 2 && echo terminal)'
        return LaunchDescription([
            SetEnvironmentVariable('SET', 'set'),
            DeclareLaunchArgument('added', default_value='added'),
            ExecuteProcess(cmd=['sh', '-c', show], name='a', output='screen', cwd={str(tmp_path)!r},
                           additional_env={{'ADDED': LaunchConfiguration('added')}}),
            ExecuteProcess(cmd=['/bin/sh', '-c', show], name='b', output='screen', emulate_tty=True,
                           env={{'SET': 'only'}}, cwd='/'),
            ExecuteProcess(cmd=['two words'], name='c', output='screen', prefix='echo a prefix'),
            ExecuteProcess(cmd=['echo one && echo two'], name='d', output='screen', shell=True),
        ])
        """)
    assert code == 0
    assert f'[a-1] kept set added {tmp_path}' in output.splitlines()
    assert '[b-2] only / terminal' in output.splitlines()
    assert '[c-3] a prefix two words' in output.splitlines()
    assert {'[d-4] one', '[d-4] two'} <= set(output.splitlines())


@pytest.mark.parametrize('number', [
    signal.SIGINT,
    pytest.param(signal.SIGTERM, marks=only_stand_in),
    pytest.param(signal.SIGHUP, marks=only_stand_in),
])  # fmt: skip
def test_a_signal_to_the_launch_ends_the_processes_by_one_sigint(
    package: Any, is_alive: Any, number: Any
) -> None:
    command = package.start_launch(stubborn('SIGINT'), stdin=subprocess.DEVNULL)
    pid = pid_of(command.wait_for('ready'))
    assert command.end(number) == 0
    assert command.output.count('got SIGINT') == 1
    assert 'got SIGTERM' not in command.output
    assert "sending signal 'SIGINT' to process[stubborn-1]" in command.output
    assert not is_alive(pid)


@only_stand_in
def test_ctrl_c_in_a_terminal_reaches_a_process_once(package: Any) -> None:
    command = package.start_launch(stubborn('SIGTERM'))
    command.wait_for('ready')
    os.killpg(command.process.pid, signal.SIGINT)
    command.wait_for('got SIGTERM')
    assert command.end() == 0
    assert command.output.count('got SIGINT') == 1


def test_a_process_that_ignores_sigint_gets_sigterm(package: Any) -> None:
    command = package.start_launch(stubborn('SIGTERM'), stdin=subprocess.DEVNULL)
    command.wait_for('ready')
    assert command.end(signal.SIGINT) == 0
    assert command.output.index('got SIGINT') < command.output.index('got SIGTERM')
    assert "receiving 'SIGINT', escalating to 'SIGTERM'" in command.output
    assert 'exit code 7' in command.output


def test_a_process_that_ignores_all_is_killed(package: Any, is_alive: Any) -> None:
    command = package.start_launch(stubborn('nothing'), stdin=subprocess.DEVNULL)
    pid = pid_of(command.wait_for('ready'))
    assert command.end(signal.SIGINT) == 0
    assert "receiving 'SIGTERM', escalating to 'SIGKILL'" in command.output
    assert 'exit code -9' in command.output
    assert not is_alive(pid)


@only_stand_in
def test_a_launch_in_the_background_of_a_script_ends_on_sigint(package: Any, is_alive: Any) -> None:
    path = package.launch_file(stubborn('SIGINT'))
    script = f'ros2 launch {shlex.quote(str(path))} & echo launch $!; wait'
    process = subprocess.Popen(
        ['sh', '-c', script], stdout=subprocess.PIPE, text=True, env=package.env
    )
    assert process.stdout is not None
    launch_pid = int(process.stdout.readline().split()[1])
    pid = next(pid_of(line) for line in process.stdout if 'ready' in line)
    os.kill(launch_pid, signal.SIGINT)
    rest = process.stdout.read()
    process.wait(30)
    assert 'got SIGINT' in rest
    assert not is_alive(pid)
    assert not is_alive(launch_pid)


@only_stand_in
def test_processes_do_not_outlive_a_killed_launch(
    package: Any, is_alive: Any, wait_until: Any
) -> None:
    command = package.start_launch(stubborn('SIGINT'))
    pid = pid_of(command.wait_for('ready'))
    command.process.kill()
    wait_until(lambda: not is_alive(pid))


@only_stand_in
def test_what_a_process_has_started_ends_with_it(
    package: Any, is_alive: Any, wait_until: Any
) -> None:
    code, output = package.launch("""
        return LaunchDescription([
            ExecuteProcess(cmd=['sh', '-c', 'sleep 1000 & echo ready $!; exit 0'], output='screen'),
        ])
        """)
    assert code == 0
    wait_until(lambda: not is_alive(pid_of(output)))


REQUIRED = """
return LaunchDescription([
    ExecuteProcess(cmd=['sh', '-c', {script!r}], name='required', on_exit=Shutdown()),
    ExecuteProcess(cmd=['sleep', '1000'], name='other', output='screen'),
])
"""


def test_the_end_of_a_required_process_ends_the_launch(package: Any) -> None:
    code, output = package.launch(REQUIRED.format(script='sleep 0.2'))
    assert code == 0
    assert 'process[required-1] was required: shutting down launched system' in output
    assert "sending signal 'SIGINT' to process[other-2]" in output


@only_stand_in
@pytest.mark.parametrize('script', ['sleep 0.2; exit 3', 'sleep 0.2; kill -9 $$'])
def test_the_failure_of_a_required_process_fails_the_launch(package: Any, script: Any) -> None:
    code, output = package.launch(REQUIRED.format(script=script))
    assert code == 1
    assert re.search(r'\[ERROR\] \[required-1\]: process has died \[pid \d+, exit code ', output)
    assert "sending signal 'SIGINT' to process[other-2]" in output


def test_a_required_process_that_fails_because_of_sigint_fails_nothing(package: Any) -> None:
    body = stubborn('SIGINT').replace("output='screen'", "output='screen', on_exit=Shutdown()")
    command = package.start_launch(body, stdin=subprocess.DEVNULL)
    command.wait_for('ready')
    assert command.end(signal.SIGINT) == 0
    assert 'exit code 7' in command.output


def test_the_death_of_another_process_is_seen_and_the_rest_goes_on(package: Any) -> None:
    command = package.start_launch("""
        return LaunchDescription([
            ExecuteProcess(cmd=['sh', '-c', 'exit 3'], name='weak',
                           on_exit=[LogInfo(msg='it died')]),
            ExecuteProcess(cmd=['sleep', '1000'], name='strong', output='screen'),
        ])
        """, stdin=subprocess.DEVNULL)  # fmt: skip
    command.wait_for('[launch.user]: it died')
    assert command.process.poll() is None
    assert command.end(signal.SIGINT) == 0
    assert 'exit code 3' in command.output


@only_stand_in
def test_a_required_process_that_cannot_be_started_fails_the_launch(package: Any) -> None:
    code, output = package.launch(
        "return LaunchDescription([ExecuteProcess(cmd=['/no/such/program'], on_exit=Shutdown())])"
    )
    assert code == 1
    assert '/no/such/program' in output
    assert 'Traceback' not in output


def test_a_process_respawns_until_the_launch_ends(package: Any) -> None:
    command = package.start_launch("""
        return LaunchDescription([
            ExecuteProcess(cmd=['sh', '-c', 'echo run'], name='again', output='screen',
                           respawn=True, respawn_delay=0.1),
        ])
        """, stdin=subprocess.DEVNULL)  # fmt: skip
    for _ in range(3):
        command.wait_for('[again-1] run')
    assert command.end(signal.SIGINT) == 0


def test_a_process_respawns_as_often_as_allowed(package: Any) -> None:
    code, output = package.launch("""
        return LaunchDescription([
            ExecuteProcess(cmd=['sh', '-c', 'echo run'], name='again', output='screen',
                           respawn=True, respawn_max_retries=2),
        ])
        """)
    assert code == 0
    assert output.count('[again-1] run') == 3


def test_what_cannot_be_started_is_not_started_again_and_again(package: Any) -> None:
    code, output = package.launch("""
        return LaunchDescription([
            ExecuteProcess(cmd=['/no/such/program'], name='nothing', respawn=True),
            ExecuteProcess(cmd=['sleep', '0.5'], name='other'),
        ])
    """)
    assert code == 0
    assert output.count('process could not be started') == 1


def test_a_shutdown_does_not_wait_for_a_respawn(package: Any) -> None:
    code, output = package.launch("""
        return LaunchDescription([
            ExecuteProcess(cmd=['true'], name='again', respawn=True, respawn_delay=1000.0),
            TimerAction(period=1.0, actions=[Shutdown()]),
        ])
        """)
    assert code == 0
    assert output.count('process started') == 1


def test_one_process_can_be_signalled(package: Any) -> None:
    code, output = package.launch("""
        from launch.events.process import ShutdownProcess, SignalProcess
        one = ExecuteProcess(cmd=['sleep', '1000'], name='one')
        two = ExecuteProcess(cmd=['sleep', '1000'], name='two')
        return LaunchDescription([
            one, two,
            TimerAction(period=0.3, actions=[EmitEvent(event=SignalProcess(
                signal_number='SIGUSR1', process_matcher=matches_action(one)))]),
            TimerAction(period=0.6, actions=[EmitEvent(event=ShutdownProcess(
                process_matcher=matches_action(two)))]),
        ])
        """)
    assert code == 0
    assert re.search(r'\[one-1\]: process has died \[pid \d+, exit code -10', output)
    assert re.search(r'\[two-2\]: process has died \[pid \d+, exit code -2', output)


def test_a_log_folder_that_cannot_be_made_is_named(package: Any, tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    package.env['ROS_LOG_DIR'] = str(tmp_path / 'file' / 'log')
    code, output = package.launch('return LaunchDescription([])')
    assert code != 0
    assert str(tmp_path / 'file') in output
