# SPDX-License-Identifier: Apache-2.0
"""A real rollout tree of 5,000 nodes behind the real server, and a page that shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
import time
from types import SimpleNamespace
from typing import Any

from browser_desk import PATIENCE, until
import numpy as np
from playwright.sync_api import Browser, Page
import pytest

from hiwm_core.action import Source
from hiwm_core.observation import Observation
from hiwm_core.rig import Mode, Pace
from hiwm_core.rollout_tree import Label, RolloutTree
from hiwm_core.task import load_task
from hiwm_intervention.console_app import Callbacks
from hiwm_intervention.console_places import Place
from hiwm_intervention.console_report import RigReport
from hiwm_intervention.console_server import ConsoleServer
from hiwm_intervention.console_session import ConsoleSession
from hiwm_intervention.console_tree import Lane
from hiwm_rig.frame_service import fill_frames

NODES = 5000
RUN = 250  # steps
VIEWPORT: Any = {'width': 1440, 'height': 900}


def grown_tree(folder: Path) -> RolloutTree:
    """Runs of a policy that a person corrects, each with two branches; pictures that differ."""
    task = load_task('pusht')
    tree = RolloutTree(folder, seed=3)
    dice = np.random.default_rng(3)
    action = np.zeros(len(task.actions))

    def observe() -> Observation:
        frame = np.full(task.frame_shape, 255, np.uint8)
        x, y = dice.integers(0, 80, 2)
        frame[y : y + 12, x : x + 12] = dice.integers(0, 200, 3)
        return Observation(frame, np.zeros(len(task.joints)), progress=float(dice.random()))

    def go(steps: int, branch: str) -> None:
        for step in range(steps):
            source = [Source.POLICY, Source.HANDOVER, Source.OPERATOR, Source.HOLD]
            tree.add_child(observe(), action, source[step // 20 % 4], branch)

    while len(tree.nodes) < NODES - 2 * RUN:
        number = len(tree.branches) + 1
        run = f'run-{number}'
        root = tree.add_root(observe(), run, tree.root_key(np.array([float(number)])))
        go(RUN - 1, run)
        for fork in (root.id + 100, root.id + 180):
            name = tree.free_branch_name('branch')
            tree.add_branch(name, fork)
            tree.move_head(fork, name)
            go(80, name)
    go(NODES - len(tree.nodes), tree.head_branch)
    for node in range(50, NODES, 100):
        tree.add_checkpoint(f'stall-{node:04d}' if node % 200 == 50 else f'mark {node}', node)
    tree.label('run-1', Label.FAILURE, 'slipped')
    return tree


class Rig:
    """The tree behind the server, and states of its head."""

    def __init__(self, folder: Path) -> None:
        self.tree = grown_tree(folder)
        self.session = ConsoleSession(load_task('pusht'), 'monday', 0.3)
        self.away = False
        self.asked: list[dict[str, Any]] = []
        self.fetched: list[int] = []
        self.server = ConsoleServer(
            '127.0.0.1',
            0,
            '',
            Callbacks(
                on_open=self.session.hello,
                on_message=lambda page, message: self.asked.append(vars(message)),
                on_close=lambda page: None,
                on_frames=self.fetch,
                on_sessions=list,
            ),
        )
        self.server.start()
        nodes = self.tree.nodes.values()
        self.session.tree.take(
            [Place(one.id, one.parent, one.step, one.branch, one.source) for one in nodes],
            [
                Lane(one.name, one.root, one.fork, one.head, one.label, one.note)
                for one in self.tree.branches.values()
            ],
            self.tree.checkpoints,
        )
        self.show()

    def fetch(self, nodes: Sequence[int], width: int) -> None:
        if self.away:
            self.server.give_frames(width, None)
            return
        response = SimpleNamespace()
        fill_frames(self.tree, SimpleNamespace(nodes=nodes, width=width), response)
        self.fetched += nodes
        pictures = zip(response.nodes, response.frames, strict=True)
        self.server.give_frames(width, {node: bytes(one.data) for node, one in pictures})

    def go_on(self, steps: int) -> None:
        """The policy drives on from the head."""
        for _ in range(steps):
            node = self.tree.node(self.tree.head)
            observation = self.tree.observation(node.id)
            self.tree.add_child(observation, np.zeros(2), Source.POLICY, self.tree.head_branch)
            self.show(mode=int(Mode.RUNNING))
        self.show()

    def show(self, **changes: Any) -> None:
        """The head as the rig says it, and its frame."""
        head = self.tree.node(self.tree.head)
        self.heard = time.monotonic()
        stamp = time.time_ns()
        self.session.see_rig(
            RigReport(
                **{
                    'stamp': stamp,
                    'session': 'monday',
                    'task': 'pusht',
                    'rig': 'world_model',
                    'epoch': self.tree.epoch,
                    'node': head.id,
                    'parent': head.parent,
                    'branch': self.tree.head_branch,
                    'step': head.step,
                    'context': False,
                    'mode': int(Mode.PAUSED),
                    'pace': int(Pace.REALTIME),
                    'can_rollback': True,
                    'can_branch': True,
                    'progress': head.progress,
                    'success': 0.0,
                    'fidelity': 1.0,
                    'dropped_actions': 0,
                    'missed_deadlines': 0,
                    'message': '',
                    **changes,
                }
            ),
            self.heard,
        )
        self.server.show({**self.session.tell(self.heard), 'starts': []})
        news = self.session.tree.take_news()
        if news is not None:
            self.server.show_tree(news)
        self.server.show_frame(self.tree.observation(head.id).frame, stamp)


@pytest.fixture(scope='module')
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp('tree'))
    yield rig
    rig.server.close()
    rig.tree.close()


@pytest.fixture
def page(rig: Rig, chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport=VIEWPORT)
    page = context.new_page()
    errors: list[str] = []
    page.on('pageerror', lambda error: errors.append(str(error)))
    page.goto(rig.server.url)
    page.wait_for_selector('#frame[data-count]', timeout=PATIENCE * 1e3)
    until(
        lambda: f'{len(rig.tree.nodes):,} nodes' in page.inner_text('#tree-count'), 'the whole tree'
    )
    yield page
    context.close()
    assert errors == []


def looked_at(page: Page) -> str:
    return str(page.get_attribute('#scroller', 'aria-valuetext'))
