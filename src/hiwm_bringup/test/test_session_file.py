# SPDX-License-Identifier: Apache-2.0
"""`config/session.yaml` says what the nodes' parameters are by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hiwm_intervention import action_mux_node, console_node, recorder_node
from hiwm_policy import policy_node
from hiwm_rig import rig_node
from hiwm_world_model import world_model_node
from launch import LaunchContext
from launch.actions import SetEnvironmentVariable
from launch.launch_description_sources import get_launch_description_from_python_launch_file

DECLARED = {
    'action_mux': action_mux_node.PARAMETERS,
    'policy': policy_node.PARAMETERS,
    'recorder': recorder_node.PARAMETERS,
    'console': console_node.PARAMETERS,
    'world_model': {**rig_node.PARAMETERS, **world_model_node.PARAMETERS},
    'sim_arm': rig_node.PARAMETERS,
}
# Set by launch arguments, or decided by the session itself.
ARGUMENTS = {
    *('task', 'session', 'session_dir', 'record_dir', 'pace', 'seed', 'policy', 'world_model'),
    *('model', 'port', 'start', 'autonomous_at_start', 'wait_for_recorder'),
}
PROFILES = 'FASTRTPS_DEFAULT_PROFILES_FILE'
FILE = Path(__file__).parents[1] / 'config' / 'session.yaml'


@pytest.mark.parametrize('node', DECLARED)
def test_every_parameter_is_there_at_its_default(node: str) -> None:
    said = yaml.safe_load(FILE.read_text())[node]['ros__parameters']
    declared = {name: each.default for name, each in DECLARED[node].items()}
    assert {name: declared.get(name) for name in said} == said
    assert set(declared) - set(said) <= ARGUMENTS


def test_no_other_node_is_named() -> None:
    assert set(yaml.safe_load(FILE.read_text())) == set(DECLARED)


@pytest.mark.parametrize('own', ['', '/lab/discovery_server.xml'])
def test_the_transport_of_a_laboratory_stays_in_force(
    own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PROFILES, raising=False)
    if own:
        monkeypatch.setenv(PROFILES, own)
    path = Path(__file__).parents[1] / 'launch' / 'session.launch.py'
    description = get_launch_description_from_python_launch_file(str(path))
    context = LaunchContext()
    for entity in description.entities:
        if isinstance(entity, SetEnvironmentVariable):
            entity.execute(context)
    said = context.environment[PROFILES]
    assert said == own if own else said.endswith('config/fastdds.xml')
