# SPDX-License-Identifier: Apache-2.0
"""Substitutions, conditions, scopes, includes and events, in one process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from launch import LaunchContext, LaunchDescription, LaunchService
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
    Shutdown,
    TimerAction,
)
from launch.conditions import (
    IfCondition,
    LaunchConfigurationEquals,
    LaunchConfigurationNotEquals,
    UnlessCondition,
)
from launch.event_handlers import OnProcessExit, OnProcessStart, OnShutdown
from launch.events import Shutdown as ShutdownEvent
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import (
    AndSubstitution,
    AnonName,
    Command,
    EnvironmentVariable,
    EqualsSubstitution,
    FindExecutable,
    LaunchConfiguration,
    NotEqualsSubstitution,
    NotSubstitution,
    OrSubstitution,
    PathJoinSubstitution,
    PythonExpression,
    SubstitutionFailure,
    TextSubstitution,
    ThisLaunchFileDir,
)
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'log'))
    monkeypatch.setenv('LAUNCH_TEST_VARIABLE', 'outside')


def launch(*entities: Any) -> int | None:
    service = LaunchService()
    service.include_launch_description(LaunchDescription(list(entities)))
    return service.run()


class Record(list):
    """What a launch did, in order."""

    def note(self, what: Any) -> OpaqueFunction:
        """An action that notes the text of a substitution."""

        def act(context: LaunchContext) -> None:
            subs = normalize_to_list_of_substitutions(what)
            self.append(perform_substitutions(context, subs))

        return OpaqueFunction(function=act)


@pytest.fixture
def record() -> Record:
    return Record()


def value(name: str) -> LaunchConfiguration:
    return LaunchConfiguration(name, default='unset')


@pytest.mark.parametrize(('substitution', 'expected'), [
    (TextSubstitution(text='a b'), 'a b'),
    (LaunchConfiguration('number'), '3'),
    (LaunchConfiguration('missing', default=['x', LaunchConfiguration('number')]), 'x3'),
    (EnvironmentVariable('LAUNCH_TEST_VARIABLE'), 'outside'),
    (EnvironmentVariable('LAUNCH_TEST_MISSING', default_value='d'), 'd'),
    (PathJoinSubstitution(['/a', LaunchConfiguration('number'), 'c.yaml']), '/a/3/c.yaml'),
    (PythonExpression(['2 * ', LaunchConfiguration('number')]), '6'),
    (PythonExpression(["'", LaunchConfiguration('text'), "' == 'word'"]), 'True'),
    (PythonExpression(['floor(2.5)']), '2'),
    (PythonExpression(["os.path.join('a', 'b')"], ['os']), 'a/b'),
    (EqualsSubstitution(LaunchConfiguration('text'), 'word'), 'true'),
    (EqualsSubstitution(LaunchConfiguration('number'), '3.0'), 'true'),
    (EqualsSubstitution('True', '1'), 'true'),
    (EqualsSubstitution('a', 'b'), 'false'),
    (NotEqualsSubstitution(LaunchConfiguration('text'), 'word'), 'false'),
    (NotSubstitution(LaunchConfiguration('flag')), 'false'),
    (AndSubstitution(LaunchConfiguration('flag'), 'false'), 'false'),
    (AndSubstitution(LaunchConfiguration('flag'), 'true'), 'true'),
    (OrSubstitution(LaunchConfiguration('flag'), 'false'), 'true'),
    (OrSubstitution('false', 'false'), 'false'),
    (Command(['echo ', LaunchConfiguration('text')]), 'word\n'),
])  # fmt: skip
def test_substitution(substitution: Any, expected: Any) -> None:
    context = LaunchContext()
    context.launch_configurations.update({'number': '3', 'text': 'word', 'flag': 'true'})
    assert context.perform_substitution(substitution) == expected


def test_find_executable() -> None:
    path = Path(LaunchContext().perform_substitution(FindExecutable(name='sh')))
    assert path.name == 'sh'
    assert os.access(path, os.X_OK)


def test_anonymous_name_is_the_same_within_a_launch() -> None:
    context = LaunchContext()
    first = context.perform_substitution(AnonName('node'))
    assert first.startswith('node_')
    assert context.perform_substitution(AnonName('node')) == first
    assert context.perform_substitution(AnonName('other')) != first


@pytest.mark.parametrize(('substitution', 'named'), [
    (LaunchConfiguration('missing'), 'missing'),
    (EnvironmentVariable('LAUNCH_TEST_MISSING'), 'LAUNCH_TEST_MISSING'),
    (FindExecutable(name='no_such_program'), 'no_such_program'),
    (AndSubstitution('perhaps', 'true'), 'perhaps'),
    (Command('false'), 'false'),
    (ThisLaunchFileDir(), 'ThisLaunchFileDir'),
])  # fmt: skip
def test_a_substitution_that_fails_names_its_cause(substitution: Any, named: Any) -> None:
    with pytest.raises(SubstitutionFailure, match=named):
        LaunchContext().perform_substitution(substitution)


@pytest.mark.parametrize(('condition', 'expected'), [
    (IfCondition('true'), True),
    (IfCondition(' True '), True),
    (IfCondition('1'), True),
    (IfCondition(LaunchConfiguration('off')), False),
    (IfCondition(PythonExpression(['1 > 2'])), False),
    (UnlessCondition('0'), True),
    (UnlessCondition('true'), False),
    (LaunchConfigurationEquals('rig', 'sim_arm'), True),
    (LaunchConfigurationEquals('rig', 'robot'), False),
    (LaunchConfigurationEquals('missing', None), True),
    (LaunchConfigurationNotEquals('rig', 'robot'), True),
])  # fmt: skip
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_condition(condition: Any, expected: Any) -> None:
    context = LaunchContext()
    context.launch_configurations.update({'off': 'false', 'rig': 'sim_arm'})
    assert condition.evaluate(context) is expected


def test_a_condition_that_is_neither_true_nor_false_is_an_error() -> None:
    with pytest.raises(Exception, match='perhaps'):
        IfCondition('perhaps').evaluate(LaunchContext())


def test_an_action_whose_condition_fails_does_nothing(record: Any) -> None:
    group = GroupAction([record.note('in group')], condition=IfCondition('false'))
    assert launch(group, record.note('after')) == 0
    assert record == ['after']


def test_a_scoped_group_keeps_what_it_sets(record: Any) -> None:
    variable = EnvironmentVariable('LAUNCH_TEST_VARIABLE')
    assert launch(
        SetLaunchConfiguration('x', 'outer'),
        GroupAction(
            [
                record.note([value('x'), value('y')]),
                SetLaunchConfiguration('x', 'inner'),
                SetEnvironmentVariable('LAUNCH_TEST_VARIABLE', 'inside'),
                record.note([value('x'), variable]),
            ],
            launch_configurations={'y': 'given'},
        ),
        record.note([value('x'), value('y'), variable]),
    ) == 0  # fmt: skip
    assert record == ['outergiven', 'innerinside', 'outerunsetoutside']


def test_an_unscoped_group_sets_for_all(record: Any) -> None:
    launch(GroupAction([SetLaunchConfiguration('x', '1')], scoped=False), record.note(value('x')))
    assert record == ['1']


INNER = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetLaunchConfiguration
from launch.substitutions import LaunchConfiguration, ThisLaunchFileDir

seen = []


def note(context):
    seen.append(LaunchConfiguration('a').perform(context))
    seen.append(LaunchConfiguration('b').perform(context))
    seen.append(ThisLaunchFileDir().perform(context))
    context.launch_configurations['seen'] = ' '.join(seen)


def generate_launch_description():
    return LaunchDescription([
        DeclareLaunchArgument('a'),
        DeclareLaunchArgument('b', default_value='default'),
        OpaqueFunction(function=note),
        SetLaunchConfiguration('from_inside', 'yes'),
    ])
"""


@pytest.fixture
def inner(tmp_path: Path) -> Path:
    path = tmp_path / 'inner.launch.py'
    path.write_text(INNER)
    return path


def test_an_include_gets_arguments_and_shares_its_scope(record: Any, inner: Any) -> None:
    source = PythonLaunchDescriptionSource([str(inner.parent), '/', 'inner.launch.py'])
    include = IncludeLaunchDescription(
        source, launch_arguments={'a': LaunchConfiguration('x')}.items()
    )
    assert launch(
        SetLaunchConfiguration('x', '7'),
        include,
        record.note([value('seen'), value('from_inside')]),
    ) == 0  # fmt: skip
    assert record == [f'7 default {inner.parent}yes']


def test_an_include_within_a_group_keeps_its_scope(record: Any, inner: Any) -> None:
    include = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(inner)), launch_arguments=[('a', '1')]
    )
    assert launch(GroupAction([include]), record.note([value('a'), value('from_inside')])) == 0
    assert record == ['unsetunset']


def test_an_include_without_a_required_argument_is_an_error(inner: Any, capfd: Any) -> None:
    assert launch(IncludeLaunchDescription(PythonLaunchDescriptionSource(str(inner)))) == 1
    assert "missing required argument 'a'" in ''.join(capfd.readouterr())


def test_an_argument_that_is_set_already_is_not_defaulted(record: Any) -> None:
    launch(
        SetLaunchConfiguration('x', 'set'),
        DeclareLaunchArgument('x', default_value='default'),
        record.note(value('x')),
    )
    assert record == ['set']


def test_process_events_are_handled_in_order(record: Any) -> None:
    process = ExecuteProcess(cmd=['true'])
    done: list[int] = []

    def exited(event: Any, context: LaunchContext) -> OpaqueFunction:
        done.append(event.returncode)
        return record.note(f'exited {event.process_name.rsplit("-", 1)[0]}')

    assert launch(
        RegisterEventHandler(
            OnProcessStart(target_action=process, on_start=[record.note('started')])
        ),
        RegisterEventHandler(OnProcessExit(target_action=process, on_exit=exited)),
        RegisterEventHandler(OnShutdown(on_shutdown=[record.note('shutdown')])),
        process,
    ) == 0  # fmt: skip
    assert record == ['started', 'exited true', 'shutdown']
    assert done == [0]


def test_a_handler_for_another_process_is_not_called(record: Any) -> None:
    one, other = ExecuteProcess(cmd=['true']), ExecuteProcess(cmd=['true'])
    handler = OnProcessExit(target_action=one, on_exit=[record.note('one')])
    launch(RegisterEventHandler(handler), one, other)
    assert record == ['one']


def test_a_timer_fires_once_and_in_order(record: Any) -> None:
    assert launch(
        TimerAction(period=0.2, actions=[record.note('second')]),
        TimerAction(period=0.05, actions=[record.note('first')]),
        record.note('now'),
    ) == 0  # fmt: skip
    assert record == ['now', 'first', 'second']


def test_a_shutdown_cancels_timers(record: Any) -> None:
    assert launch(
        TimerAction(period=1000.0, actions=[record.note('never')]),
        TimerAction(period=0.05, actions=[EmitEvent(event=ShutdownEvent(reason='enough'))]),
        RegisterEventHandler(
            OnShutdown(on_shutdown=lambda event, context: record.append(event.reason))
        ),
    ) == 0  # fmt: skip
    assert record == ['enough']


def test_a_shutdown_action_ends_the_launch(record: Any) -> None:
    assert launch(
        ExecuteProcess(cmd=['sleep', '1000']),
        TimerAction(period=0.1, actions=[Shutdown(reason='done')]),
    ) == 0  # fmt: skip


def test_an_opaque_function_yields_actions(record: Any) -> None:
    def decide(context: LaunchContext, text: str, *, twice: bool) -> list[Any]:
        return [record.note(text)] * (2 if twice else 1)

    launch(OpaqueFunction(function=decide, args=['x'], kwargs={'twice': True}))
    assert record == ['x', 'x']


def test_an_exception_in_a_launch_is_exit_code_1(capfd: Any) -> None:
    def fail(context: LaunchContext) -> None:
        raise ValueError('the map is missing')

    assert launch(OpaqueFunction(function=fail)) == 1
    assert 'the map is missing' in ''.join(capfd.readouterr())
