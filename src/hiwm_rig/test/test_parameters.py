# SPDX-License-Identifier: Apache-2.0
"""Parameters: their descriptors, what is refused at the start, and that they stay as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
import sys
from typing import Any

import pytest
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from test.process import Process

from hiwm_core.error import ConfigurationError
from hiwm_core.parameter import Parameter
from hiwm_rig.base_node import declare

PARAMETERS = {
    'port': Parameter(8765, 'the port', low=1, high=65535),
    'seed': Parameter(0, 'the seed', low=0),
    'timeout': Parameter(0.5, 's, how long', low=0.01, high=10.0),
    'gain': Parameter(1.0, 'how much', high=2.0),
    'pace': Parameter('fast', 'how fast', choices=('fast', 'slow')),
    'on': Parameter(True, 'whether'),
    'name': Parameter('', 'any text'),
}


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Node, Any]]]:
    """Declares the parameters above on a node that was given values as on a command line."""
    nodes: list[Node] = []

    def declared(*given: str) -> tuple[Node, Any]:
        overrides = [part for each in given for part in ('-p', each)]
        monkeypatch.setattr(sys, 'argv', ['node', '--ros-args', *overrides])
        rclpy.init()
        nodes.append(Node('dial'))
        return nodes[-1], declare(nodes[-1], PARAMETERS)

    yield declared
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()


def test_defaults_and_given_values_are_returned(
    declared: Callable[..., tuple[Node, dict[str, Any]]],
) -> None:
    _, values = declared('port:=80', 'pace:=slow', 'timeout:=2.5', 'on:=false', 'gain:=-7.5')
    assert values == {
        'port': 80,
        'seed': 0,
        'timeout': 2.5,
        'gain': -7.5,
        'pace': 'slow',
        'on': False,
        'name': '',
    }


def test_descriptors_tell_what_may_be_given(
    declared: Callable[..., tuple[Node, dict[str, Any]]],
) -> None:
    node, _ = declared()
    port = node.describe_parameter('port')
    assert (port.description, port.read_only) == ('the port', True)
    assert port.type == RosParameter.Type.INTEGER.value
    assert [(span.from_value, span.to_value) for span in port.integer_range] == [(1, 65535)]
    seed = node.describe_parameter('seed').integer_range[0]
    assert (seed.from_value, seed.to_value) == (0, 2**63 - 1)
    timeout = node.describe_parameter('timeout').floating_point_range[0]
    assert (timeout.from_value, timeout.to_value) == (0.01, 10.0)
    assert node.describe_parameter('gain').floating_point_range[0].to_value == 2.0
    assert node.describe_parameter('pace').additional_constraints == 'one of: fast, slow'


def test_nothing_can_be_set_afterwards(
    declared: Callable[..., tuple[Node, dict[str, Any]]],
) -> None:
    node, values = declared()
    for name, value in (('port', 81), ('pace', 'slow'), ('on', False), ('timeout', 1.0)):
        result = node.set_parameters([RosParameter(name, value=value)])[0]
        assert not result.successful
        assert name in result.reason
        assert node.get_parameter(name).value == values[name]


MISTAKES = {
    'port:=0': "parameter 'port' is 0; it must be at least 1",
    'port:=65536': "parameter 'port' is 65536; it must be at most 65535",
    'seed:=-3': "parameter 'seed' is -3; it must be at least 0",
    'timeout:=11.0': "parameter 'timeout' is 11.0; it must be at most 10.0",
    'timeout:=.nan': "parameter 'timeout' is nan; it must be at least 0.01",
    'gain:=.nan': "parameter 'gain' is nan; it must be at most 2.0",
    'pace:=quick': "parameter 'pace' is 'quick'; it must be one of: fast, slow",
    'port:=high': "parameter 'port' of dial must be a whole number",
    'port:=80.5': "parameter 'port' of dial must be a whole number",
    'timeout:=1': "parameter 'timeout' of dial must be a number with a decimal point",
    'on:=1': "parameter 'on' of dial must be true or false",
    'pace:=1': "parameter 'pace' of dial must be text",
}


@pytest.mark.parametrize('given', MISTAKES)
def test_a_value_that_cannot_be_used_is_refused(
    declared: Callable[..., tuple[Node, Any]], given: str
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        declared(given)
    assert refusal.value.message.startswith(MISTAKES[given])


# -- as a process: one sentence, exit code 1, no traceback ---------------------------------------

MAKE_RIG = "make = lambda: RigNode('rig', lambda task, values: PointMass(task))"
BROKEN = """
def backend(task, values):
    raise {error}

make = lambda: RigNode('rig', backend, {{'model': Parameter('', 'the weights')}})
"""
NO_WEIGHTS = "ConfigurationError('there are no weights; train some')"


PROCESS_MISTAKES = pytest.mark.parametrize(
    ('make', 'arguments', 'sentence'),
    [
        (MAKE_RIG, ['-p', 'task:=tail'], "small_rig: there is no task 'tail'; the tasks are:"),
        (MAKE_RIG, ['-p', 'context_frames:=99'], "small_rig: parameter 'context_frames' is 99;"),
        (MAKE_RIG, ['-p', 'seed:=one'], "small_rig: parameter 'seed' of rig must be a whole"),
        (MAKE_RIG, ['-p', 'session_dir:=/dev/null/a'], 'could not be opened: Not a directory'),
        (MAKE_RIG, ['-p', 'seed:=-1', '-p', 'start:=running'], 'has not been reset yet'),
        (MAKE_RIG, ['--params-file', '/no/file'], 'the ROS arguments cannot be used: failed to'),
        (BROKEN.format(error=NO_WEIGHTS), [], 'small_rig: there are no weights; train some'),
        (BROKEN.format(error="KeyError('conv1')"), [], 'rig could not configure: KeyError('),
    ],
    ids=['task', 'range', 'type', 'folder', 'no start', 'file', 'weights', 'fault'],
)


@PROCESS_MISTAKES
def test_a_mistake_ends_the_process_with_one_sentence(
    process: Callable[..., Process], make: str, arguments: list[str], sentence: str
) -> None:
    with process(make, *arguments) as rig:
        assert rig.wait() == 1
        said = [line for line in rig.text.splitlines() if line.startswith('small_rig: ')]
        assert len(said) == 1
        assert sentence in said[0]
        assert 'Traceback' not in rig.text


def test_a_foreign_file_in_the_session_folder_is_left_alone(
    process: Callable[..., Process], tmp_path: Path
) -> None:
    (tmp_path / 'tree.journal').write_text('somebody wrote this')
    with process(MAKE_RIG, '-p', f'session_dir:={tmp_path}') as rig:
        assert rig.wait() == 1
        assert 'is not a journal of this version of the program; move it away' in rig.text
    assert (tmp_path / 'tree.journal').read_text() == 'somebody wrote this'
