# SPDX-License-Identifier: Apache-2.0
"""A session's report: what happened in figures, one page that stands alone, never in the way."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
import json
from pathlib import Path
import re
from typing import Any

from hiwm_msgs.msg import Action, MuxState, RigState, TreeEvent
from hiwm_msgs.srv import Label
import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message

from hiwm_core import contract
from hiwm_core.contract import (
    ACTION,
    IMAGE,
    MUX_STATE,
    RECORDED_TOPICS,
    RIG_EXECUTED,
    RIG_STATE,
    RIG_TREE,
)
from hiwm_core.error import HiwmError
from hiwm_core.session_bag import SessionBag
from hiwm_intervention.report import main as report_command
from hiwm_intervention.session_observer import SessionObserver
from hiwm_intervention.session_report import write_report
from hiwm_rig.base_node import interface
from hiwm_rig.conversion import image_message, time_message

START = 1_700_000_000_000_000_000
STEP = 100_000_000  # ns
CUSTOM_DATA = {'session': 'tuesday', 'task': 'pusht', 'operator_id': 'ada <3'}
EMPTY_TAGS = {'meta', 'img'}
KINDS = {topic.name: interface(topic.type) for topic in RECORDED_TOPICS}


class Story:
    """A session as the graph tells it; every message goes to `take` with its time of receipt."""

    def __init__(self, take: Callable[[str, bytes, int], Any], size: tuple[int, int]) -> None:
        self._take = take
        self._size = size
        self.now = START
        self.node = self.parent = self.top = 0
        self.step = self.epoch = self.executed = self.sent = 0
        self.branch = 'run-1'
        self.phase = MuxState.PHASE_PAUSED
        self.human = 0.0
        self._random = np.random.default_rng(2)

    def tell(self, topic: contract.Topic, message: Any) -> None:
        message.header.stamp = time_message(self.now)
        self._take(topic.name, serialize_message(message), self.now)

    def show(self, progress: float = 0.0) -> None:
        """The rig shows where it stands."""
        self.now += STEP // 2
        width, height = self._size
        frame = self._random.integers(0, 256, (height, width, 3), np.uint8)
        image = image_message(frame, time_message(self.now))
        self.tell(IMAGE, image)
        state = RigState(session='tuesday', task='pusht', rig='sim_arm', branch=self.branch)
        state.epoch, state.node, state.step = self.epoch, self.node, self.step
        state.parent = self.parent
        state.executed_actions, state.period = self.executed, 0.1
        state.progress = progress
        self.tell(RIG_STATE, state)
        self.now += STEP // 2

    def drive(self, source: int, steps: int, progress: float = 0.0) -> None:
        for _ in range(steps):
            self.tell(ACTION, Action(seq=self.sent, source=source))
            self.sent += 1
            self.human += 0.1 * (source == Action.SOURCE_OPERATOR)
            self.executed += 1
            self.step += 1
            self.top += 1
            self.parent, self.node = self.node, self.top
            self.now += STEP // 2
            self.tell(RIG_EXECUTED, Action(source=source))
            self.now -= STEP // 2
            self.show(progress)

    def event(self, kind: int, **fields: Any) -> None:
        message = TreeEvent(kind=kind, epoch=self.epoch, node=self.node, branch=self.branch)
        for name, value in fields.items():
            setattr(message, name, value)
        self.tell(RIG_TREE, message)

    def reset(self, branch: str) -> None:
        self.top += 1
        self.node, self.parent, self.step, self.branch = self.top, 0, 0, branch
        self.epoch += 1
        self.event(TreeEvent.KIND_RESET, seed=1)
        self.show()

    def back(self, node: int, step: int) -> None:
        self.epoch += 1
        self.node, self.parent, self.step = node, node - 1, step
        self.event(TreeEvent.KIND_ROLLBACK)
        self.show()

    def fork(self, name: str) -> None:
        self.epoch += 1
        self.branch = name
        self.event(TreeEvent.KIND_BRANCH)
        self.show()

    def enter(self, phase: int, **fields: Any) -> None:
        state = MuxState(phase=phase, sent_actions=self.sent, human_time=self.human)
        if phase == MuxState.PHASE_CORRECTING:
            state.operator_id = 'ada <3'
        for name, value in fields.items():
            setattr(state, name, value)
        self.tell(MUX_STATE, state)

    def play(self) -> None:
        """Two corrections of one failure; the second is good."""
        self.enter(MuxState.PHASE_PAUSED)
        self.reset('run-1')
        self.enter(MuxState.PHASE_AUTONOMOUS)
        self.drive(Action.SOURCE_POLICY, 10, 0.2)
        self.enter(
            MuxState.PHASE_PAUSED, trigger=MuxState.TRIGGER_STALL, reason='0.20 for 5 s & more'
        )
        self.enter(MuxState.PHASE_HANDOVER)
        self.enter(MuxState.PHASE_CORRECTING)
        self.drive(Action.SOURCE_OPERATOR, 6, 0.4)
        self.enter(MuxState.PHASE_PAUSED)
        self.event(TreeEvent.KIND_LABEL, label=Label.Request.LABEL_FAILURE)
        self.back(9, 8)
        self.fork('fix')
        self.enter(MuxState.PHASE_HANDOVER)
        self.enter(MuxState.PHASE_CORRECTING)
        self.drive(Action.SOURCE_OPERATOR, 5, 0.9)
        self.enter(MuxState.PHASE_AUTONOMOUS)
        self.drive(Action.SOURCE_POLICY, 4, 0.97)
        self.event(
            TreeEvent.KIND_LABEL, label=Label.Request.LABEL_SUCCESS, note='<script>x</script>'
        )


def record(session: Path, size: tuple[int, int] = (96, 96)) -> list[str]:
    """Record the story as a session's recorder does; returns what the observer had to say."""
    said: list[str] = []
    bag = session / 'bag'
    observer = SessionObserver(
        bag, CUSTOM_DATA, lambda topic, data: deserialize_message(data, KINDS[topic]), said.append
    )
    with SessionBag(bag, RECORDED_TOPICS, CUSTOM_DATA) as open_bag:

        def take(topic: str, data: bytes, stamp: int) -> None:
            open_bag.write(topic, data, stamp)
            observer.written(topic, data, stamp)

        Story(take, size).play()
    assert observer.finish('') == []
    return said


def test_the_figures_are_those_of_the_session(tmp_path: Path) -> None:
    session = tmp_path / 'tuesday'
    assert record(session) == []
    figures = json.loads((session / 'report.json').read_text())
    assert figures['started'] == '2023-11-14T22:13:20+00:00'
    assert {name: figures[name] for name in ('session', 'task', 'rig', 'operator_id')} == {
        'session': 'tuesday',
        'task': 'pusht',
        'rig': 'sim_arm',
        'operator_id': 'ada <3',
    }
    assert figures['takeovers'] == 2
    assert figures['corrective_steps'] == 11
    assert figures['corrective_seconds'] == pytest.approx(1.1)
    assert figures['accepted_seconds'] == pytest.approx(0.5)
    assert figures['human_seconds'] == pytest.approx(1.1)
    assert figures['branches'] == 1
    assert figures['labels'] == {'success': 1, 'failure': 1, 'discard': 0}
    assert figures['episodes'] == 2
    assert figures['lost_messages'] == 0
    assert figures['rollbacks'] == figures['resets'] == 1
    assert figures['seconds'] == pytest.approx(2.8, abs=0.3)


@pytest.mark.parametrize('size', [(96, 96), (640, 480)])
def test_a_bag_read_afterwards_gives_the_same_report(
    tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = tmp_path / 'tuesday'
    record(session, size)
    files = ('report.json', 'report.html', 'bag.summary.jsonl')
    made = {name: (session / name).read_text() for name in files}
    for name in files:
        (session / name).unlink()
    monkeypatch.setattr('sys.argv', ['report', str(tmp_path)])
    assert report_command() == 0
    assert {name: (session / name).read_text() for name in files} == made


class Page(HTMLParser):
    """A page's tags and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or '' for name, value in attrs if name in {'src', 'href'}]
        if tag not in EMPTY_TAGS:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def test_the_page_stands_alone(tmp_path: Path) -> None:
    session = tmp_path / 'tuesday'
    record(session, (640, 480))
    text = (session / 'report.html').read_text()
    page = Page(text)
    # Two takeovers and two branches, each with what was there before and after.
    assert page.tags.count('img') == 8
    assert all(source.startswith('data:image/jpeg;base64,') for source in page.sources)
    assert len(set(page.sources)) >= 6
    assert 'script' not in page.tags and 'link' not in page.tags
    assert not re.search(r'https?:|@import|url\(', text)
    assert '&lt;script&gt;x&lt;/script&gt;' in text
    assert 'ada &lt;3' in text and '0.20 for 5 s &amp; more' in text
    for word in ('prefers-color-scheme: dark', 'width=device-width', 'progress stalled'):
        assert word in text
    assert len(text) < 400_000


def test_a_session_that_went_on_is_one_report(tmp_path: Path) -> None:
    session = tmp_path / 'tuesday'
    record(session)
    first = json.loads((session / 'report.json').read_text())
    for name in ('bag', 'bag.summary.jsonl'):
        (session / name).rename(session / name.replace('bag', 'bag-2', 1))
    record(session)
    second = json.loads((session / 'report.json').read_text())
    for name in ('takeovers', 'corrective_steps', 'seconds', 'messages'):
        assert second[name] == pytest.approx(2 * first[name])
    # Branches of one name are one branch of the session.
    assert second['labels'] == first['labels']
    (session / 'bag-2.summary.jsonl').write_text('{"kind": "phase"}\n')
    report = write_report(session)
    assert report.figures['takeovers'] == 2
    assert any('bag-2 is not in this report' in remark for remark in report.remarks)
    assert 'bag-2 is not in this report' in (session / 'report.html').read_text()


def test_what_goes_wrong_is_said_once_and_raises_nothing(tmp_path: Path) -> None:
    said: list[str] = []

    def decode(topic: str, data: bytes) -> Any:
        raise ValueError('cannot be decoded')

    observer = SessionObserver(tmp_path / 's' / 'bag', CUSTOM_DATA, decode, said.append)
    for number in range(3):
        observer.written(RIG_STATE.name, b'\0\1\0\0', number)
    observer.number(IMAGE.name, 1)
    observer.number(IMAGE.name, 4)
    assert [loss.missing for loss in observer.finish('')] == [2]
    assert len(said) == 1
    assert 'cannot be decoded' in said[0] and 'hiwm_intervention report' in said[0]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    session = tmp_path / 'tuesday'
    record(session)
    (session / 'report.html').unlink()
    (session / 'report.html').mkdir()
    with pytest.raises(HiwmError, match='cannot be written'):
        write_report(session)
    assert not list(session.glob('.*'))


def test_folders_without_sessions_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path, tmp_path / 'none'):
        monkeypatch.setattr('sys.argv', ['report', str(path)])
        assert report_command() == 1
        assert 'there is no session' in capsys.readouterr().out
