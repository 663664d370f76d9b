# SPDX-License-Identifier: Apache-2.0
"""A recorded session that is played back: the console and the recorder take it for a live one."""

from __future__ import annotations

import asyncio
from pathlib import Path
import socket
import sys
import time

from aiohttp import ClientSession, CookieJar
import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

from hiwm_core.action import Source
from hiwm_core.episodes import Episode, read_episodes
from hiwm_core.rollout_tree import Label
from hiwm_core.task import Task, load_task
from hiwm_intervention.console_protocol import unpack_view
from test.probe import PATIENCE
from test.process import Process

sys.path.insert(0, str(Path(__file__).parents[1] / 'src' / 'hiwm_core' / 'test'))

from written_session import WrittenSession

TOKEN = 'token-of-the-playback-test'
# A rig shows its start again and again until somebody drives. A busy machine needs that time, and
# the player's delay, until everybody has found everybody.
STILL_FRAMES = 100
DELAY = 4.0  # s
COMPARED = (
    *('frames', 'joints', 'scene', 'progress', 'fidelity', 'actions', 'sources', 'shadow'),
    *('spread', 'phases', 'triggers', 'human_seconds', 'epochs', 'stamps', 'nodes'),
)


@pytest.fixture
def task() -> Task:
    return load_task('pusht')


@pytest.fixture
def recorded(task: Task, tmp_path: Path) -> Path:
    """An attempt, a rollback, and a branch that a person drove."""
    session = WrittenSession(tmp_path / 'recorded', task)
    session.reset(6)
    for _ in range(STILL_FRAMES):
        session.show(session.rig.head)
    for _ in range(8):
        session.step(Source.POLICY)
    session.trigger(2)
    session.rollback(3)
    session.fork('better')
    session.step(Source.HANDOVER)
    for _ in range(4):
        session.step(Source.OPERATOR)
    session.label(Label.SUCCESS, '')
    session.bag.close()
    return session.path


def said(process: Process, words: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while words not in process.text:
        assert time.monotonic() < deadline, f'it never said {words!r}: {process.text}'
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return int(free.getsockname()[1])


async def pictures(port: int, playing: asyncio.Event, last: int) -> dict[int, NDArray[np.uint8]]:
    """What a page shows while the session is played, by the stamps of its frames."""
    base = f'http://127.0.0.1:{port}/'
    shown: dict[int, NDArray[np.uint8]] = {}
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
        await session.get(base, params={'token': TOKEN})
        headers = {'Origin': base.rstrip('/')}
        async with session.ws_connect(f'{base}ws', headers=headers) as page:
            playing.set()
            while last not in shown:
                message = await asyncio.wait_for(page.receive(), PATIENCE)
                if not isinstance(message.data, bytes):
                    continue
                view, image = unpack_view(message.data)
                # As a page does: the next view is sent when this one has been drawn.
                await page.send_json({'type': 'seen', 'seq': view['seq']})
                if image:
                    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
                    shown[int(view['stamp'])] = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return shown


def play(bag: Path, folder: Path, port: int, last: int) -> dict[int, NDArray[np.uint8]]:
    """Play a bag while a page looks; returns what the page showed."""

    async def both() -> dict[int, NDArray[np.uint8]]:
        playing = asyncio.Event()
        page = asyncio.create_task(pictures(port, playing, last))
        await asyncio.wait_for(playing.wait(), PATIENCE)
        command = ['ros2', 'bag', 'play', str(bag), '-r', '2', '-d', str(DELAY)]
        with Process(command, folder / 'play.log') as player:
            shown = await page
            assert await asyncio.to_thread(player.wait) == 0, player.text
        return shown

    return asyncio.run(both())


@pytest.mark.timeout(300)
def test_a_session_that_is_played_is_as_good_as_a_live_one(
    recorded: Path, task: Task, tmp_path: Path
) -> None:
    before = {episode.branch: episode for episode in read_episodes(recorded, task)}
    frames = {
        int(stamp): frame
        for episode in before.values()
        for stamp, frame in zip(episode.stamps, episode.frames, strict=True)
    }
    port = free_port()
    again = tmp_path / 'again'
    recorder = ['ros2', 'run', 'hiwm_intervention', 'recorder', '--ros-args']
    recorder += ['-p', f'record_dir:={again}', '-p', 'session:=played']
    console = ['ros2', 'run', 'hiwm_intervention', 'console', '--ros-args', '-p', f'port:={port}']
    console += ['-p', f'token:={TOKEN}', '-p', f'record_dir:={tmp_path}']
    with (
        Process(recorder, tmp_path / 'recorder.log') as writing,
        Process(console, tmp_path / 'console.log') as watching,
    ):
        said(writing, 'recording to')
        said(watching, 'Console: ')
        shown = play(recorded, tmp_path, port, max(frames))
        assert writing.interrupt() == 0, writing.text
        assert watching.interrupt() == 0, watching.text

    for stamp in set(shown) & set(frames):
        np.testing.assert_array_equal(shown[stamp], frames[stamp])
    assert max(frames) in shown

    after: dict[str, Episode] = {episode.branch: episode for episode in read_episodes(again, task)}
    assert set(after) == set(before) == {'run-1', 'better'}
    for name, episode in after.items():
        assert (episode.session, episode.seed) == ('played', before[name].seed)
        assert (episode.parent, episode.fork, episode.label, episode.success) == (
            before[name].parent,
            before[name].fork,
            before[name].label,
            before[name].success,
        )
        for part in COMPARED:
            np.testing.assert_array_equal(
                getattr(episode, part)[1:], getattr(before[name], part)[1:], err_msg=part
            )
