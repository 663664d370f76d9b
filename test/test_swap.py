# SPDX-License-Identifier: Apache-2.0
"""The world model, the simulated arm and the physical one, each in the same session.

Each session is launched as a person launches it, driven by the policy and corrected by an operator.
Their graphs differ in the rig's own nodes and in nothing else, and what they recorded goes through
the same post-training without a flag.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
import json
from pathlib import Path
import subprocess

from hiwm_msgs.msg import MuxState
from hiwm_msgs.srv import Takeover
import numpy as np
import pytest

from hiwm_core import contract
from hiwm_core.action import Source
from hiwm_core.episodes import read_episodes
from hiwm_core.task import load_task
from hiwm_core.tree_node import Label
from hiwm_policy.model import PolicyNetwork, save_model
from hiwm_policy.size import DiffusionSize
from test.driven_session import DrivenSession
from test.dynamixel_rig import emulator, patient_arm
from test.graph import Endpoint, graph_seen_by
from test.operating import ask, take_over
from test.probe import PATIENCE, Probe, watching
from test.process import Process

# Each rig's launch file and arguments, and the nodes that it consists of.
RIGS: dict[str, tuple[list[str], set[str]]] = {
    'world_model': (['wm_session.launch.py'], {'world_model'}),
    'sim_arm': (['robot_session.launch.py', 'rig:=sim_arm'], {'sim_arm'}),
    'dynamixel': (
        # A busy machine may hold up the camera, as it does every node.
        ['robot_session.launch.py', 'rig:=dynamixel', 'camera:=sim', 'camera_timeout:=20.0'],
        {'dynamixel_arm', 'sim_camera'},
    ),
}
SESSION = {'policy', 'action_mux', 'recorder', 'console'}
DRIVEN, CORRECTED, TAKEOVERS = 4, 12, 4
# Looks at the graph, half a second apart, that have to agree: what was missed is told of anew after
# three seconds.
AGREEING = 8
TOPIC_ENDS = ('publisher', 'subscription')
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Recorded:
    """What a session left.

    Attributes:
        graph: While it ran.
        folder: Of its record.
    """

    graph: frozenset[Endpoint]
    folder: Path


def settled_graph(probe: Probe) -> frozenset[Endpoint]:
    """The graph, once it changes no more and every node of the session is in it."""
    looks: list[frozenset[Endpoint]] = []

    def agree() -> bool:
        looks.append(graph_seen_by(probe.node))
        newest = looks[-AGREEING:]
        return (
            len(newest) == AGREEING
            and all(look == newest[0] for look in newest)
            and {end.node for end in newest[0] if end.kind in TOPIC_ENDS} >= SESSION
        )

    try:
        probe.until_looked(agree, 0.5, 'the graph settles', 2.0 * PATIENCE)
    except AssertionError as error:
        changed = sorted(looks[-1] ^ looks[-2]) if len(looks) > 1 else []
        nodes = sorted({end.node for end in looks[-1]})
        raise AssertionError(f'{error}; of {nodes} changed last: {changed}') from None
    return looks[-1]


def run_session(rig: str, folder: Path) -> Recorded:
    """Launch, let the policy drive, correct it, and end."""
    arguments, _ = RIGS[rig]
    event = Takeover.Request
    with ExitStack() as stack:
        if rig == 'dynamixel':
            arm = patient_arm(folder)
            stack.enter_context(emulator(arm, folder / 'port'))
            arguments = [*arguments, f'arm:={arm}']
        probe = stack.enter_context(watching())
        command = [
            *('ros2', 'launch', 'hiwm_bringup', *arguments, 'port:=0', 'pace:=lockstep'),
            *('session:=swapped', f'record_dir:={folder}', 'seed:=5'),
        ]
        session = stack.enter_context(Process(command, folder / 'log'))
        # Nothing physical moves by itself before a person has said so.
        driven = DrivenSession(session, probe)
        driven.go_on(3.0 * PATIENCE)
        while probe.state.step < DRIVEN:
            driven.go_on(3.0 * PATIENCE)
        # The graph is the same while nobody drives, and the machine has time to look at it.
        probe.call(contract.TAKEOVER, event=event.EVENT_PAUSE)
        graph = settled_graph(probe)
        correct(driven)
        ask(probe, event.EVENT_RELEASE, MuxState.PHASE_PAUSED)
        # An arm cannot tell; a person judges on every rig.
        probe.must(contract.LABEL, label=int(Label.SUCCESS))
        assert session.interrupt() == 0, session.text
        assert session.left_behind() == []
    return Recorded(graph, folder / 'swapped')


def correct(driven: DrivenSession) -> None:
    """Drive some steps; anew, where a busy machine held up the camera or the operator."""
    for _ in range(TAKEOVERS):
        driven.go_on(2.0 * PATIENCE)
        try:
            take_over(driven.probe, np.array([0.004, 0.0]), CORRECTED)
        except AssertionError as error:
            lost = error
        else:
            return
    raise AssertionError(f'{TAKEOVERS} takeovers were lost; the last: {lost}')


@pytest.fixture(scope='module')
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Recorded]]:
    """One session with each rig."""
    yield {rig: run_session(rig, tmp_path_factory.mktemp(rig)) for rig in RIGS}


@pytest.fixture(scope='module')
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three demonstrations."""
    folder = tmp_path_factory.mktemp('demos')
    command = ['ros2', 'run', 'hiwm_robot', 'collect', '--kind', 'demo', '--episodes', '3']
    subprocess.run([*command, '--out', str(folder)], check=True, timeout=3.0 * PATIENCE)
    return folder


@pytest.fixture(scope='module')
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small policy whose card says that it was trained on them."""
    folder = tmp_path_factory.mktemp('base')
    size = DiffusionSize(free_keypoints=4, width=32, depth=1, condition=16, framed=True)
    save_model(PolicyNetwork(load_task('pusht'), size), folder, {'data': {'demo_episodes': 3}})
    return folder


def own(rig: str, end: Endpoint) -> bool:
    return end.node in RIGS[rig][1]


def test_the_graphs_differ_in_the_rigs_own_nodes_and_in_nothing_else(
    recorded: dict[str, Recorded],
) -> None:
    others = {
        rig: {end for end in session.graph if not own(rig, end)}
        for rig, session in recorded.items()
    }
    assert {end.node for end in others['world_model']} >= SESSION
    for rig in RIGS:
        difference = others[rig] ^ others['world_model']
        assert not difference, f'{rig} differs from world_model in {sorted(difference)}'


def test_every_rig_offers_and_uses_the_contract_alike(recorded: dict[str, Recorded]) -> None:
    names = {topic.name for topic in contract.RIG_TOPICS} | {contract.ACTION.name}
    names |= {service.name for service in contract.RIG_SERVICES}
    for rig, session in recorded.items():
        ends = [end for end in session.graph if own(rig, end) and end.name in names]
        offered = {end._replace(node='') for end in ends if end.kind in {'publisher', 'server'}}
        assert {end.name for end in offered} == names - {contract.ACTION.name}
        for topic in contract.RIG_TOPICS:
            (end,) = [each for each in offered if each.name == topic.name]
            reliability = 'RELIABLE' if topic.quality.reliable else 'BEST_EFFORT'
            durability = 'TRANSIENT_LOCAL' if topic.quality.latched else 'VOLATILE'
            assert (end.type, end.quality) == (topic.type, (reliability, durability))
        for service in contract.RIG_SERVICES:
            (end,) = [each for each in offered if each.name == service.name]
            assert end.type == service.type
        listening = [end for end in ends if end.name == contract.ACTION.name]
        assert {end.kind for end in listening} == {'subscription'}


def test_what_only_the_arm_has_belongs_to_the_arm(recorded: dict[str, Recorded]) -> None:
    """Emergency stop and the servos' own joints are beside the contract, and nobody needs them."""
    extra = {
        end.name
        for end in recorded['dynamixel'].graph
        if own('dynamixel', end) and end.kind in {'publisher', 'server'}
    } - {
        end.name
        for end in recorded['sim_arm'].graph
        if own('sim_arm', end) and end.kind in {'publisher', 'server'}
    }
    stop = {'/rig/e_stop', '/e_stop_trigger', '/e_stop_reset'}
    assert stop <= extra
    allowed = tuple(f'/{node}/' for node in RIGS['dynamixel'][1])
    assert all(name.startswith(allowed) for name in extra - stop), extra


def test_the_same_post_training_takes_each_record_without_a_flag(
    recorded: dict[str, Recorded], base: Path, demos: Path, tmp_path: Path
) -> None:
    task = load_task('pusht')
    virtual_steps = set()
    for rig in ('world_model', 'dynamixel'):
        folder = recorded[rig].folder
        corrected = sum(
            int((episode.sources == Source.OPERATOR).sum())
            for episode in read_episodes(folder, task)
        )
        assert corrected >= CORRECTED
        out = tmp_path / rig
        done = subprocess.run(
            [
                *('ros2', 'run', 'hiwm_policy', 'post_train', '--base', str(base)),
                *('--demos', str(demos), '--sessions', str(folder), '--out', str(out)),
                # Not how it is trained, but how long.
                *('--steps', '2', '--device', 'cpu'),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=3.0 * PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        facts = json.loads((out / 'card.json').read_text())['post_training']
        assert facts['operator_seconds'] > 0.0 and facts['branches'] >= 1
        virtual_steps.add(facts['virtual_steps'])
    assert virtual_steps and min(virtual_steps) > 0
