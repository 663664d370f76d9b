# SPDX-License-Identifier: Apache-2.0
"""Soaks a whole session: takeovers, rollbacks, branches and labels in lockstep at full speed.

Every node runs as a user runs it (world model, policy, multiplexer, recorder, console), with a page
of the console connected all the while. Measured are the resident memory of every process, errors in
the log, and at the end whether the bag and the rollout tree agree. The bar for memory is that of
two hours; a node of the tree has to cost something, so what the tree's growth costs is measured
apart (`bench.tree_cost`) and taken off.

The command ends with 1 if something failed or if the bag and the tree differ.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import re
import signal
import sys
import tempfile
import threading
import time
from typing import Any

import rclpy
from test.page_client import PageClient
from test.process import Process
from tqdm import tqdm

from bench.agreement import compare
from bench.process_memory import MemoryLog, draw_memory, growth
from bench.result import Bar, machine, print_bars, write_result
from bench.soak_operator import Hand, SoakOperator
from bench.tree_cost import node_costs
from hiwm_core.task import load_task

TASK = 'pusht'
SESSION = 'soak'
SAMPLE_PERIOD = 1.0  # s
PROMPT = 4.0  # s; after five the launch takes to harder means
START = 60.0  # s until the console has printed its address
MOST_GROWTH = 2.0  # percent in the second half
FAILURE = re.compile(r'\[(ERROR|FATAL)\]|Traceback')
WARNING = re.compile(r'\[WARN(ING)?\]')


def command(folder: Path, seed: int) -> list[str]:
    """The session's launch."""
    return [
        'ros2',
        'launch',
        'hiwm_bringup',
        'wm_session.launch.py',
        f'task:={TASK}',
        'pace:=lockstep',
        'port:=0',
        f'record_dir:={folder}',
        f'session:={SESSION}',
        f'seed:={seed}',
    ]


def address(session: Process) -> str:
    """What the console printed."""
    deadline = time.monotonic() + START
    while (found := re.search(r'Console: (http\S+)', session.text)) is None:
        if session.child.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f'the session did not start:\n{session.text[-3000:]}')
        time.sleep(0.2)
    return found[1]


@contextmanager
def sampling(log: MemoryLog, processes: Mapping[str, int], hand: Hand) -> Iterator[None]:
    """Samples every `SAMPLE_PERIOD` for the length of a block, the first one at once."""
    over = threading.Event()

    def work() -> None:
        log.sample(processes, hand.nodes)
        while not over.wait(SAMPLE_PERIOD):
            log.sample(processes, hand.nodes)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def soak(session: Process, seconds: float, seed: int, log: MemoryLog) -> dict[str, Any]:
    """Operate a session for so long; what was done. Raises AssertionError."""
    task = load_task(TASK)
    hand = Hand(task, seed)
    try:
        with PageClient(address(session)) as page:
            page.until(lambda: page.phase == 'autonomous', 'the policy drives')
            processes = {**session.nodes(), 'launch': session.child.pid}
            operator = SoakOperator(page, hand, task, seed)
            began = time.monotonic()
            with sampling(log, processes, hand), tqdm(total=round(seconds), unit='s') as bar:
                while (now := time.monotonic() - began) < seconds:
                    bar.set_postfix(nodes=hand.nodes)
                    bar.update(round(now) - bar.n)
                    operator.turn()
            wall = time.monotonic() - began
            operator.stop()
            page.until(lambda: page.nodes >= hand.nodes, 'the page knows the whole tree')
            facts = {
                'nodes': hand.nodes,
                'steps_per_s': round(hand.nodes / wall, 2),
                'turns': sum(operator.done.values()),
                'by_kind': dict(operator.done),
                'longest_turn': operator.longest,
                'lost_takeovers': operator.lost_takeovers,
                'views_of_the_page': page.views,
            }
    finally:
        hand.close()
    return facts


def end(session: Process) -> int:
    """Ctrl-C, and the exit code; a node that is not gone after some seconds says where it hangs."""
    os.killpg(session.child.pid, signal.SIGINT)
    deadline = time.monotonic() + PROMPT
    while time.monotonic() < deadline and session.child.poll() is None:
        time.sleep(SAMPLE_PERIOD / 10.0)
    for number in session.nodes().values():
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGUSR1)
    return session.wait(120.0)


def measure(folder: Path, minutes: float, seed: int, log: MemoryLog) -> dict[str, Any]:
    """A whole soak and its comparison; memory goes into the log as it is sampled."""
    with Process(command(folder, seed), folder / 'session.log') as session:
        try:
            facts = soak(session, 60.0 * minutes, seed, log)
        except AssertionError as error:
            raise AssertionError(f'{error}\nthe session said:\n{session.text[-3000:]}') from error
        exit_code = end(session)
    lines = session.text.splitlines()
    bag = folder / SESSION / 'bag'
    agreement = compare(bag, folder / SESSION, load_task(TASK))
    return {
        **facts,
        'exit_code': exit_code,
        'errors': [line for line in lines if FAILURE.search(line)],
        'warnings': [line for line in lines if WARNING.search(line) and 'ctrl-c' not in line],
        'bag_mb': round(sum(file.stat().st_size for file in bag.iterdir()) / 1e6, 1),
        'agreement': agreement.as_dict(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--minutes', type=float, default=10.0, help='how long; 120 is a whole one')
    parser.add_argument('--seed', type=int, default=0, help='of the session and of every turn')
    parser.add_argument('--folder', type=Path, help='where to record; it is emptied again')
    parser.add_argument(
        '--json', type=Path, help='where the figures go; a picture is drawn beside it'
    )
    arguments = parser.parse_args()
    if arguments.minutes <= 0:
        parser.error(f'--minutes must be more than 0, not {arguments.minutes:g}')
    if arguments.folder is not None and not arguments.folder.is_dir():
        parser.error(f'--folder {arguments.folder} is not a folder; make it first')
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    facts = machine()
    costs = node_costs()
    log = MemoryLog()
    rclpy.init()
    try:
        with tempfile.TemporaryDirectory(prefix='hiwm-bench-', dir=arguments.folder) as folder:
            result = measure(Path(folder), arguments.minutes, arguments.seed, log)
    except AssertionError as error:
        print(f'bench: {error}', file=sys.stderr)
        if log.times:
            # An hour's memory is worth something even if the second hour was not reached.
            print_memory(growth(log, costs))
        return 1
    finally:
        rclpy.try_shutdown()
    memory = growth(log, costs)
    worst = max(memory, key=lambda name: memory[name]['growth_beside_tree_percent'])
    bars = [
        Bar(
            f'growth in the second half, {worst}',
            memory[worst]['growth_beside_tree_percent'],
            MOST_GROWTH,
            '%',
        ),
        Bar('errors in the log', len(result['errors']), 1, ''),
        Bar('differences of bag and tree', result['agreement']['differ'], 1, ''),
    ]
    result |= {
        'minutes': arguments.minutes,
        'seed': arguments.seed,
        'node_bytes': {name: round(value, 1) for name, value in costs.items()},
        'memory': memory,
        'bars': [bar.as_dict() for bar in bars],
        'machine': {**facts, 'load_average_after': machine()['load_average']},
    }
    print_result(result)
    print_bars(bars)
    if arguments.json:
        write_result(arguments.json, result)
        title = f'{result["turns"]} turns, {result["nodes"]:,} nodes in {arguments.minutes:g} min'
        draw_memory(arguments.json.with_suffix('.png'), log, title)
    failed = result['errors'] or result['agreement']['differ'] or result['exit_code']
    return 1 if failed else 0


def print_result(result: dict[str, Any]) -> None:
    """The figures, for a person."""
    print(f'{"nodes":<20} {result["nodes"]}, {result["steps_per_s"]} a second')
    print(f'{"turns":<20} {result["turns"]}: {result["by_kind"]}')
    print(f'{"agreement":<20} {result["agreement"]}')
    for line in result['errors'] + result['warnings']:
        print(f'{"":<20} {line}')
    print_memory(result['memory'])


def print_memory(memory: Mapping[str, Mapping[str, float]]) -> None:
    """The table of all processes."""
    print(f'{"MB":<14}{"first":>9}{"half":>9}{"end":>9}{"tree":>8}{"growth %":>10}{"beside":>9}')
    for name, each in memory.items():
        print(
            f'{name:<14}{each["first_mb"]:>9.1f}{each["half_mb"]:>9.1f}{each["end_mb"]:>9.1f}'
            f'{each["tree_mb"]:>8.2f}{each["growth_percent"]:>10.2f}'
            f'{each["growth_beside_tree_percent"]:>9.2f}'
        )


if __name__ == '__main__':
    sys.exit(main())
