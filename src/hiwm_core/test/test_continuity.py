# SPDX-License-Identifier: Apache-2.0
"""What is missing in a recording is found, and what is not missing is not called so."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from hiwm_core.continuity import Continuity, Counter
from hiwm_core.contract import (
    ACTION,
    IMAGE,
    MUX_STATE,
    OPERATOR_ACTION,
    RIG_EXECUTED,
    RIG_STATE,
)


def header(stamp: int) -> SimpleNamespace:
    return SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=stamp))


def state(node: int, **fields: object) -> SimpleNamespace:
    told = {
        'header': header(node),
        'node': node,
        'epoch': 1,
        'step': node,
        'executed_actions': node,
        'context': False,
        'rig': 'sim_arm',
        'session': 's',
    }
    return SimpleNamespace(**(told | fields))


def missing(continuity: Continuity) -> dict[str, int]:
    return {loss.topic: loss.missing for loss in continuity.losses()}


def count(numbers: list[int], first: int = 0) -> int:
    counter = Counter(first)
    for number in numbers:
        counter.take(number)
    return counter.missing


@pytest.mark.parametrize(
    ('numbers', 'expected'),
    [
        ([], 0),
        ([0, 1, 2, 3], 0),
        ([17, 18, 19], 0),
        ([0, 1, 4, 5], 2),
        ([0, 1, 4, 7], 4),
        ([5, 6, 0, 1, 2], 0),
        ([5, 6, 0, 1, 4], 2),
        # Two senders in turn; the second is heard late and is no gap of the first.
        ([3, 4, 90, 5, 91, 6, 92], 0),
        ([3, 90, 4, 91, 5, 94, 6, 95], 2),
        ([90, 3, 91, 4, 92, 8, 93, 9], 3),
    ],
)
def test_numbers_that_nobody_sent_here(numbers: list[int], expected: int) -> None:
    assert count(numbers) == expected


def test_drops_of_several_senders_are_counted() -> None:
    random = np.random.default_rng(5)
    numbers, at, dropped = [], [0, 5000, 90000], 0
    for _ in range(3000):
        sender = int(random.integers(3))
        # Never the first two nor the last of a sender: nobody could know of them.
        if random.random() < 0.05 and len(numbers) > 50:
            dropped += 1
        else:
            numbers.append(at[sender])
        at[sender] += 1
    numbers += at
    assert count(numbers) == dropped


def test_a_lossy_sender_is_named_in_one_sentence() -> None:
    continuity = Continuity()
    for seq in (0, 1, 2, 5, 6):
        continuity.take(OPERATOR_ACTION.name, SimpleNamespace(seq=seq))
        continuity.take(ACTION.name, SimpleNamespace(seq=seq if seq < 5 else seq - 2))
    (loss,) = continuity.losses()
    assert loss.sentence == '2 messages are missing on /operator/action, by Action.seq'


def test_the_multiplexer_counts_what_it_sent() -> None:
    continuity = Continuity()
    for seq in range(10):
        continuity.take(ACTION.name, SimpleNamespace(seq=seq))
    continuity.take(MUX_STATE.name, SimpleNamespace(sent_actions=10))
    assert missing(continuity) == {}
    continuity.take(MUX_STATE.name, SimpleNamespace(sent_actions=12))
    assert missing(continuity) == {ACTION.name: 2}


def test_nodes_epochs_and_steps() -> None:
    continuity = Continuity()
    for node in (1, 2, 3, 4):
        continuity.take(RIG_STATE.name, state(node, executed_actions=0))
    # A rollback shows the past again: no new nodes.
    for node, context in ((2, True), (3, True), (3, False)):
        again = state(node, epoch=2, context=context, executed_actions=0)
        continuity.take(RIG_STATE.name, again)
    assert missing(continuity) == {}
    continuity.take(RIG_STATE.name, state(8, epoch=2, step=4, executed_actions=0))
    assert missing(continuity) == {RIG_STATE.name: 3}
    for step in (5, 6, 8):
        treeless = state(0, epoch=2, step=step, executed_actions=0)
        continuity.take(RIG_STATE.name, treeless)
    continuity.take(RIG_STATE.name, state(9, epoch=9, step=0, executed_actions=0))
    assert missing(continuity) == {RIG_STATE.name: 6}


@pytest.mark.parametrize('action_first', [True, False])
def test_executed_actions_are_counted_by_the_rig(action_first: bool) -> None:
    continuity = Continuity()

    def step(node: int, heard: bool = True) -> None:
        entries = [(RIG_STATE.name, state(node))]
        if heard:
            entries.insert(
                0 if action_first else 1, (RIG_EXECUTED.name, SimpleNamespace(header=header(node)))
            )
        for entry in entries:
            continuity.take(*entry)

    # States are latched: these were shown before anybody could hear the actions.
    for node in range(1, 10):
        step(node, heard=False)
    for node in range(10, 60):
        step(node)
    assert missing(continuity) == {}
    step(60, heard=False)
    step(61, heard=False)
    step(62)
    assert missing(continuity) == {RIG_EXECUTED.name: 2}
    # The rig is started anew and counts from 0.
    for node in range(63, 70):
        again = state(node, executed_actions=node - 63, epoch=2)
        continuity.take(RIG_STATE.name, again)
        if node > 63:
            continuity.take(RIG_EXECUTED.name, SimpleNamespace(header=header(node)))
    assert missing(continuity) == {RIG_EXECUTED.name: 2}


def test_a_topic_that_is_never_heard_is_missing() -> None:
    continuity = Continuity()
    for node in range(1, 101):
        continuity.take(RIG_STATE.name, state(node))
    assert missing(continuity) == {RIG_EXECUTED.name: 99}


def test_another_rig_on_the_same_topics_is_no_loss() -> None:
    continuity = Continuity()
    for node in range(1, 50):
        continuity.take(RIG_STATE.name, state(node))
        continuity.take(RIG_STATE.name, state(7000 + 3 * node, rig='world_model', epoch=40))
    assert missing(continuity) == {}


def test_every_state_has_its_image() -> None:
    continuity = Continuity()
    for stamp in range(1, 3000):
        # States from before the first image are latched; three images are lost.
        if stamp >= 10 and stamp not in (20, 21, 2990):
            continuity.image(stamp)
        continuity.take(RIG_STATE.name, state(stamp, executed_actions=0))
    assert missing(continuity) == {IMAGE.name: 3}


def test_the_middlewares_numbers_cover_every_topic() -> None:
    continuity = Continuity()
    for number in (1, 2, 3, 7):
        continuity.number(IMAGE.name, number)
        continuity.number(MUX_STATE.name, None)
        continuity.number(RIG_STATE.name, 2**64 - 1)
    assert missing(continuity) == {IMAGE.name: 3}
