# SPDX-License-Identifier: Apache-2.0
"""Sessions and weights that post-training cannot use: one sentence, and which of them it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
from typing import Any

import pytest
from written_session import PERIOD, WrittenSession

from hiwm_core.action import Source
from hiwm_core.contract import IMAGE, JOINT_STATES, RIG_EXECUTED, RIG_STATE, Topic
from hiwm_core.rollout_tree import Label
from hiwm_core.task import Task
from hiwm_policy import post_train
from hiwm_policy.dataset import Frames
from hiwm_policy.model import CARD, WEIGHTS, PolicyNetwork, load_card, save_model

Build = Callable[..., PolicyNetwork]
Post = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def base(pusht: Task, small_network: Build, tmp_path: Path) -> Path:
    save_model(small_network(pusht, framed=True), tmp_path / 'base', {})
    return tmp_path / 'base'


@pytest.fixture
def post(
    pusht: Task,
    demonstrations: Callable[..., Frames],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Post:
    """Runs the command on the sessions in `tmp_path`; its exit code and its last line."""
    parse = post_train.arguments
    demos = demonstrations(pusht, episodes=20)
    monkeypatch.setattr(post_train, 'read_demos', lambda *_: demos)

    def run(*options: str) -> tuple[int, str]:
        given = parse(
            [
                *(
                    '--base',
                    str(tmp_path / 'base'),
                    '--demos',
                    'demos',
                    '--out',
                    str(tmp_path / 'out'),
                ),
                *('--sessions', str(tmp_path / 'sessions'), '--device', 'cpu', '--steps', '1'),
                *options,
            ]
        )
        monkeypatch.setattr(post_train, 'arguments', lambda: given)
        code = post_train.main()
        said = capsys.readouterr()
        lines = (said.err if code else said.out).strip().splitlines()
        assert 'Traceback' not in said.err
        assert (tmp_path / 'out' / CARD).is_file() == (code == 0)
        return code, lines[-1]

    return run


def record(folder: Path, task: Task, *, leave_out: Topic | None = None) -> WrittenSession:
    """A session of five steps of the policy and five of an operator, without the end."""
    session = WrittenSession(folder, task)
    if leave_out is not None:
        write: Callable[[Topic, Any], None] = session.write
        session.write = lambda topic, message: (  # type: ignore[method-assign]
            None if topic == leave_out else write(topic, message)
        )
    session.reset(1)
    for source in 5 * (Source.POLICY,) + 5 * (Source.OPERATOR,):
        session.step(source)
    session.label(Label.SUCCESS, '')
    return session


def test_a_session_of_another_task_is_named(post: Post, pusht: Task, tmp_path: Path) -> None:
    session = record(tmp_path / 'sessions' / 'other', replace(pusht, name='rope'))
    session.bag.close()
    code, said = post()
    assert code == 1
    assert said == f"post_train: the bag {session.path} is of task 'rope', not 'pusht'"


@pytest.mark.parametrize(
    ('topic', 'sentence'),
    [
        (RIG_STATE, 'holds no message of /rig/state'),
        (IMAGE, 'holds no message of /camera/camera/color/image_raw'),
        (JOINT_STATES, 'holds no message of /joint_states'),
        (RIG_EXECUTED, 'holds no action of /rig/executed, so nothing can be learned'),
    ],
)
def test_a_session_that_lacks_a_topic_is_named(
    post: Post, pusht: Task, tmp_path: Path, topic: Topic, sentence: str
) -> None:
    session = record(tmp_path / 'sessions' / 'half', pusht, leave_out=topic)
    session.bag.close()
    code, said = post()
    assert code == 1
    assert said.startswith(f'post_train: the bag {session.path} ')
    assert sentence in said


def test_a_clock_that_jumped_is_named(post: Post, pusht: Task, tmp_path: Path) -> None:
    session = record(tmp_path / 'sessions' / 'jumped', pusht)
    head = session.tree.nodes[5]
    session.now = 1_700_000_000_000_000_000 - PERIOD
    for _ in range(5):
        session.show(head)
    session.bag.close()
    code, said = post()
    assert code == 1
    assert said.startswith(f'post_train: the bag {session.path} ')
    assert 'a clock jumped back' in said


def test_one_of_several_is_named_and_skipped(
    post: Post, pusht: Task, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record(tmp_path / 'sessions' / 'a', pusht).bag.close()
    other = record(tmp_path / 'sessions' / 'b', replace(pusht, name='rope'))
    other.bag.close()
    code, said = post()
    assert code == 0
    assert '5 virtual steps of 1 pieces' in said
    assert f"the bag {other.path} is of task 'rope', not 'pusht'; it is skipped" in caplog.text


@pytest.mark.parametrize(
    ('options', 'why'),
    [
        (('--wm-cl',), '10 belong to an episode that an operator corrected'),
        (('--least-fidelity', '1.0'), '5 come after a frame of too low a fidelity'),
    ],
)
def test_an_empty_selection_says_what_removed_the_steps(
    post: Post, pusht: Task, tmp_path: Path, options: tuple[str, ...], why: str
) -> None:
    record(tmp_path / 'sessions' / 'only', pusht).bag.close()
    code, said = post(*options)
    assert code == 1
    assert said.startswith(f'post_train: of the 10 steps in {tmp_path / "sessions"} none is left: ')
    assert why in said


def test_branches_without_a_pair_are_named(post: Post, pusht: Task, tmp_path: Path) -> None:
    record(tmp_path / 'sessions' / 'only', pusht).bag.close()
    code, said = post('--preference-weight', '0.1')
    assert code == 1
    assert f'{tmp_path / "sessions"}: no fork has a branch that succeeded and one that' in said
    code, said = post('--preference-weight', '-1')
    assert code == 1
    assert '--preference-weight is 0 or more' in said


def test_pairs_of_recorded_branches_are_learned_from(
    post: Post, pusht: Task, tmp_path: Path
) -> None:
    session = record(tmp_path / 'sessions' / 'forked', pusht)
    session.rollback(5)
    session.fork('worse')
    for _ in range(4):
        session.step(Source.POLICY)
    session.label(Label.FAILURE, '')
    session.bag.close()
    code, _ = post('--preference-weight', '0.1')
    assert code == 0
    preferred = load_card(tmp_path / 'out')['post_training']['preference']
    assert (preferred['pairs'], preferred['forks'], preferred['windows']) == (1, 1, 4)
    assert (preferred['weight'], preferred['beta']) == (0.1, post_train.BETA)


# -- weights that do not fit -----------------------------------------------------------------------


def of_another_task(base: Path, build: Build, two_arms: Task) -> str:
    save_model(build(two_arms), base, {})
    return f"the policy in {base} was trained for task 'two_arms', not 'pusht'"


def of_another_camera(base: Path, build: Build, two_arms: Task) -> str:
    card = load_card(base)
    card['image'] = {'width': 640, 'height': 480}
    (base / CARD).write_text(json.dumps(card))
    return f"the policy in {base} was trained for images of 640x480; task 'pusht' has 96x96"


def damaged(base: Path, build: Build, two_arms: Task) -> str:
    (base / WEIGHTS).write_bytes(b'x' + (base / WEIGHTS).read_bytes()[1:])
    return f'{base / WEIGHTS} is damaged or belongs to another card'


def of_another_size(base: Path, build: Build, two_arms: Task) -> str:
    card = load_card(base)
    card['size'] = {**card['size'], 'width': 48}
    (base / CARD).write_text(json.dumps(card))
    return f'{base / WEIGHTS} does not fit its card'


@pytest.mark.parametrize('spoil', [of_another_task, of_another_camera, damaged, of_another_size])
def test_weights_that_do_not_fit_are_refused(
    post: Post,
    base: Path,
    small_network: Build,
    two_arms: Task,
    spoil: Callable[[Path, Build, Task], str],
) -> None:
    sentence = spoil(base, small_network, two_arms)
    code, said = post()
    assert code == 1
    assert said.startswith(f'post_train: {sentence}')
