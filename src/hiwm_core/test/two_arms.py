# SPDX-License-Identifier: Apache-2.0
"""A task with two arms and 14 actions, as the text of its file; no simulator belongs to it."""

from __future__ import annotations

ARMS = ('left', 'right')
JOINTS = ('waist', 'shoulder', 'elbow', 'forearm', 'wrist', 'hand', 'gripper')
NAMES = [f'{arm}_{joint}' for arm in ARMS for joint in JOINTS]


def _lines(template: str) -> str:
    return '\n'.join(template.format(name=name) for name in NAMES)


TWO_ARMS = f"""\
task: two_arms
description: Fold the towel with both arms.
simulator: towel
rate: 20.0
episode_steps: 400
camera:
  width: 32
  height: 24
  metres_per_pixel: 0.02
  fx: 40.0
  fy: 41.0
  cx: 16.0
  cy: 12.0
actions:
{_lines('  - {{name: {name}, unit: rad, low: -1.5, high: 1.25, max_step: 0.2}}')}
joints:
{_lines('  - {{name: {name}, unit: rad}}')}
scene:
{_lines('  - {{name: {name}_angle, unit: rad, range: [-1.5, 1.5]}}')}
  - {{name: towel_x, unit: m, range: [-0.3, 0.3]}}
  - {{name: towel_y, unit: m, range: [-0.3, 0.3]}}
  - {{name: towel_angle, unit: rad, range: [-3.2, 3.2], wraps: true}}
bodies:
  - name: left_arm
    position: [{', '.join(f'{name}_angle' for name in NAMES[:7])}]
    points: []
  - name: right_arm
    position: [{', '.join(f'{name}_angle' for name in NAMES[7:])}]
    points: []
  - name: towel
    position: [towel_x, towel_y]
    angle: towel_angle
    points: [[-0.1, -0.1], [0.1, -0.1], [0.1, 0.1], [-0.1, 0.1]]
actuated:
  - {{joints: [{', '.join(NAMES[7:])}], body: right_arm}}
  - {{joints: [{', '.join(NAMES[:7])}], body: left_arm}}
success:
  progress: overlap
  above: 0.9
reset:
{_lines('  {name}_angle: [-0.5, 0.5]')}
  towel_x: [-0.1, 0.1]
  towel_y: [0.05, 0.05]
  towel_angle: [-4.0, 4.0]
console:
  keys:
    d: {{left_waist: 0.25}}
    l: {{right_waist: 0.25, right_hand: -0.5}}
"""
