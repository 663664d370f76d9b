# SPDX-License-Identifier: Apache-2.0
"""Task files: what is read from them, and the sentence that refuses each mistake."""

from __future__ import annotations

import numpy as np
import pytest
from two_arms import NAMES, TWO_ARMS

from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.task import Task, load_task, parse_task, task_names

FIRST_ACTION = '{name: left_waist, unit: rad, low: -1.5, high: 1.25, max_step: 0.2}'
FIRST_JOINT = '  - {name: left_waist, unit: rad}\n'
RIGHT_JOINTS = f'[{", ".join(NAMES[7:])}]'

# What is changed in the file, and the words that the refusal must contain.
MISTAKES = {
    'not YAML': ('rate: 20.0', 'rate: [', 'two_arms is not YAML'),
    'missing': ('rate: 20.0\n', '', "lacks the entry 'rate'"),
    'missing below': ('  fx: 40.0\n', '', "camera lacks the entry 'fx'"),
    'missing in a list': (', max_step: 0.2}', '}', "actions[0] lacks the entry 'max_step'"),
    'misspelt': ('  cy: 12.0', '  cy: 12.0\n  zoom: 2', "camera has an unknown entry 'zoom'"),
    'misspelt option': ('wraps: true', 'wrap: true', "scene[16] has an unknown entry 'wrap'"),
    'no mapping': ('success:\n  progress: overlap\n  above: 0.9', 'success: 1', 'success must be'),
    'text for a number': ('rate: 20.0', 'rate: fast', "rate must be a finite number, not 'fast'"),
    'a flag for a number': ('rate: 20.0', 'rate: true', 'rate must be a finite number'),
    'infinite': ('rate: 20.0', 'rate: .inf', 'rate must be a finite number'),
    'not a number': ('low: -1.5', 'low: .nan', 'actions[0].low must be a finite number'),
    'a fraction of a pixel': ('width: 32', 'width: 32.5', 'camera.width must be a whole number'),
    'a number for text': ('task: two_arms', 'task: 3', 'task must be text, not 3'),
    'no list': ('points: []', 'points: 4', 'bodies[0].points must be a list, not 4'),
    'no flag': ('wraps: true', 'wraps: 1', 'scene[16].wraps must be true or false'),
    'half a range': ('[-3.2, 3.2]', '[-3.2]', 'scene[16].range must be [low, high]'),
    'range upside down': ('[-0.1, 0.1]\n  towel_y', '[1, 0]\n  towel_y', 'reset.towel_x must be'),
    'no joint named': (RIGHT_JOINTS, '[]', 'actuated[0].joints needs at least one name'),
    'rate 0': ('rate: 20.0', 'rate: 0', 'rate must be larger than 0 Hz, not 0'),
    'no steps': ('episode_steps: 400', 'episode_steps: 0', 'episode_steps must be at least 1'),
    'no pixels': ('width: 32', 'width: 0', 'a width and a height of at least 1 pixel'),
    'no scale': ('fy: 41.0', 'fy: 0.0', "camera's metres_per_pixel, fx and fy must be larger"),
    'no limits': ('low: -1.5', 'low: 1.25', "action 'left_waist' needs low < high"),
    'no speed': ('max_step: 0.2', 'max_step: 0', "action 'left_waist' needs low < high and max"),
    'action twice': ('{name: left_shoulder, unit: rad, low', '{name: left_waist, unit: rad, low',
                     "the action 'left_waist' occurs twice"),
    'joint twice': (FIRST_JOINT, FIRST_JOINT * 2, "the joint 'left_waist' occurs twice"),
    'scene twice': ('name: towel_y', 'name: towel_x', "scene variable 'towel_x' occurs twice"),
    'body twice': ('- name: towel', '- name: left_arm', "the body 'left_arm' occurs twice"),
    'joint drives two': ('body: right_arm}', 'body: right_arm}\n  - {joints: [left_waist, '
                         'left_hand], body: towel}', "joint of `actuated` 'left_waist' occurs"),
    'action without joint': (FIRST_ACTION, FIRST_ACTION.replace('left_waist', 'tail'),
                             "action 'tail' has no joint of the same name"),
    'other unit': (FIRST_JOINT, FIRST_JOINT.replace('rad', 'm'),
                   "action 'left_waist' is in rad, its joint in m"),
    'unknown body': ('body: right_arm}', 'body: tail}', "`actuated` names 'tail', which is no"),
    'coordinates': (RIGHT_JOINTS, RIGHT_JOINTS.replace(', right_gripper', ''),
                    "body 'right_arm' is moved by 6 joints but has 7 coordinates"),
    'joint that moves nothing': (FIRST_JOINT, FIRST_JOINT + '  - {name: tail, unit: rad}\n',
                                 "`actuated` and the joints differ in 'tail'"),
    'empty range': ('range: [-0.3, 0.3]', 'range: [0.3, 0.3]', "'towel_x' is empty"),
    'unknown coordinate': ('[towel_x, towel_y]', '[towel_x, towel_z]',
                           "body 'towel' names 'towel_z', which is not a scene variable"),
    'unknown angle': ('angle: towel_angle', 'angle: tail', "body 'towel' names 'tail'"),
    'points too short': ('[-0.1, -0.1]', '[-0.1]', "the points of body 'towel' need as many"),
    'reset lacks one': ('  towel_x: [-0.1, 0.1]\n', '', '`reset` needs a range for every scene'),
    'reset outside': ('towel_x: [-0.1, 0.1]', 'towel_x: [-0.1, 0.4]',
                      "`reset` draws 'towel_x' from outside its range"),
    'a measure above 1': ('above: 0.9', 'above: 1.5', 'success.above must be a share from 0'),
    'a measure below 0': ('above: 0.9', 'above: -0.02', 'success.above must be a share from 0'),
    'key takes over': ('d: {left_waist', 't: {left_waist', "key 't' takes over and cannot drive"),
    'key pauses': ('d: {left_waist', "' ': {left_waist", "key ' ' pauses and cannot drive"),
    'key stops': ('d: {left_waist', 'X: {left_waist', "key 'X' stops everything and cannot drive"),
    'key moves nothing': ('d: {left_waist', 'd: {tail', "moves 'tail', which is not an action"),
}  # fmt: skip


@pytest.mark.parametrize('mistake', MISTAKES)
def test_a_mistake_is_refused_with_a_sentence_that_names_it(mistake: str) -> None:
    old, new, sentence = MISTAKES[mistake]
    assert old in TWO_ARMS
    with pytest.raises(ConfigurationError) as refusal:
        parse_task(TWO_ARMS.replace(old, new, 1), 'two_arms')
    assert sentence in refusal.value.message
    assert refusal.value.message.startswith('two_arms')


@pytest.mark.parametrize('text', ['', '- 1', 'task', '3'])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match='f: the file must be a mapping'):
        parse_task(text, 'f')


def test_a_task_without_actions_is_refused() -> None:
    head, rest = TWO_ARMS.split('actions:\n')
    with pytest.raises(ConfigurationError, match='at least one action'):
        parse_task(f'{head}actions: []\njoints:{rest.split("joints:", 1)[1]}', 'f')


def test_a_task_of_two_arms_is_read(task: Task) -> None:
    assert task.action_names == tuple(NAMES)
    assert task.joint_names == tuple(NAMES)
    assert task.frame_shape == (24, 32, 3)
    assert task.period == 0.05
    assert task.scene_index('towel_y') == 15
    assert task.action_low.tolist() == [-1.5] * 14
    assert task.action_high.tolist() == [1.25] * 14
    assert task.action_max_step.tolist() == [0.2] * 14
    assert task.keys['l'] == {'right_waist': 0.25, 'right_hand': -0.5}
    assert task.bodies[2].angle == 'towel_angle'
    assert task.bodies[2].points[1] == (0.1, -0.1)
    assert [variable.wraps for variable in task.scene[-2:]] == [False, True]
    assert (task.progress_name, task.success_above) == ('overlap', 0.9)
    with pytest.raises(ConfigurationError, match="no scene variable 'tail'; it has: left_waist"):
        task.scene_index('tail')


def test_every_installed_task_loads_and_draws_starts_within_its_ranges() -> None:
    for name in task_names():
        task = load_task(name)
        assert task.name == name
        for seed in range(50):
            scene = task.start_scene(seed)
            assert np.array_equal(task.check_scene(scene), scene)
            joints = task.joints_of_scene(scene)
            held = task.hold_action(joints)
            assert ((task.action_low <= held) & (held <= task.action_high)).all()


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigurationError, match=r"there is no task 'tail'; the tasks are: .*pusht"
    ):
        load_task('tail')


def test_a_start_belongs_to_its_seed(task: Task) -> None:
    assert np.array_equal(task.start_scene(3), task.start_scene(3))
    assert not np.array_equal(task.start_scene(3), task.start_scene(4))
    starts = np.array([task.start_scene(seed) for seed in range(200)])
    for column, name in enumerate(task.scene_names):
        low, high = task.reset[name]
        assert starts[:, column].min() >= low
        assert starts[:, column].max() <= high
        assert np.ptp(starts[:, column]) >= 0.9 * (high - low)
    with pytest.raises(HiwmError, match='a seed is 0 or larger, not -1'):
        task.start_scene(-1)


def test_the_joints_of_a_scene_are_in_the_joints_order(task: Task) -> None:
    scene = np.arange(17.0)
    # `actuated` lists the right arm first; the joints list the left one first.
    assert task.joints_of_scene(scene).tolist() == list(range(14))


def test_holding_keeps_the_measured_joints_within_the_limits(task: Task) -> None:
    joints = np.linspace(-2.0, 2.0, 14)
    assert np.array_equal(task.hold_action(joints), np.clip(joints, -1.5, 1.25))
    with pytest.raises(ValueError, match='shorter'):
        task.hold_action(joints[:3])


def test_a_scene_is_checked(task: Task) -> None:
    scene = task.start_scene(0)
    assert np.array_equal(task.check_scene(scene.tolist()), scene)
    scene[-1] = 40.0
    assert task.check_scene(scene)[-1] == 40.0, 'an angle that wraps may be any'
    with pytest.raises(HiwmError, match=r"of task 'two_arms' has 17 values .*, not 3"):
        task.check_scene(scene[:3])
    scene[14] = 0.31
    with pytest.raises(HiwmError, match=r"'towel_x' is 0.31 m; it must lie between -0.3 and 0.3"):
        task.check_scene(scene)
    scene[14] = np.nan
    with pytest.raises(HiwmError, match="'towel_x' is nan m"):
        task.check_scene(scene)


@pytest.mark.parametrize(
    ('progress', 'success', 'done'),
    [(0.91, 0.0, True), (0.9, 1.0, False), (np.nan, 0.6, True), (np.nan, 0.4, False)],
)
def test_the_criterion_decides_and_without_progress_the_rigs_estimate(
    task: Task, progress: float, success: float, done: bool
) -> None:
    assert task.succeeded(progress, success) is done
    assert not task.succeeded(np.nan, np.nan)
