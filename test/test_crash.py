# SPDX-License-Identifier: Apache-2.0
"""The rollout tree of a real session survives kills, damage, a full disk and a second session."""

from __future__ import annotations

from pathlib import Path
import random
import resource

from hiwm_msgs.msg import RigState

from hiwm_core import contract
from hiwm_core.rollout_tree import JOURNAL_NAME
from test.killed_session import KilledSession, digest
from test.probe import watching

KILLS = 5


def test_every_frame_that_was_published_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    with watching() as probe:
        session = KilledSession(tmp_path, probe, seed=0)
        for _ in range(KILLS):
            assert session.live_and_be_killed().lost == []
        assert len(session.shown) > KILLS
        early = random.Random(0).choice(list(session.shown)[:20])
        head = session.head()
        # As a machine that lost its power may leave it.
        with (session.tree_folder / JOURNAL_NAME).open('ab') as journal:
            journal.write(bytes(1000))
        session.forget()
        with session.process() as last:
            session.drive(last, head, 5)
            assert f'{JOURNAL_NAME} ended in 1000 damaged bytes; it was cut' in last.text
            back = probe.must(contract.ROLLBACK, node=early)
            state = probe.until(
                lambda: next(
                    (
                        each
                        for each in probe.states
                        if (each.epoch, each.node) == (back.epoch, early) and not each.context
                    ),
                    None,
                ),
                'the node of an earlier life',
            )
            assert digest(probe.frame(state)) == session.shown[early]
            assert last.interrupt() == 0


def test_a_second_session_is_refused_and_a_full_disk_ends_the_first(tmp_path: Path) -> None:
    with watching() as probe:
        session = KilledSession(tmp_path, probe, seed=1)
        with session.process() as first:
            session.drive(first, (0, ''), 3)
            with session.process() as second:
                assert second.wait() == 1
                said = [line for line in second.text.splitlines() if 'in use by another' in line]
                assert said, second.text
                assert f'{session.tree_folder / JOURNAL_NAME} is in use' in said[-1]
                assert 'Traceback' not in second.text
            session.drive(first, (0, ''), 3)
            room = (session.tree_folder / JOURNAL_NAME).stat().st_size + 10_000
            resource.prlimit(first.child.pid, resource.RLIMIT_FSIZE, (room, room))
            session.drive_until_fault(first)
            assert first.wait() == 1
            assert f'{JOURNAL_NAME} could not be written: File too large' in first.text
            assert 'Traceback' not in first.text
        assert probe.state.mode == RigState.MODE_FAULT
        assert 'could not be written' in probe.state.message
        assert session.lost() == []
        assert (session.tree_folder / JOURNAL_NAME).stat().st_size <= room
