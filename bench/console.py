# SPDX-License-Identifier: Apache-2.0
"""Measures the console's page in real Chromium over a tree of 5,000 nodes: scrolling and memory.

A session of the shipped world model goes on with a tree that was grown before, its page is opened,
and the timeline is scrolled through in both directions for some seconds, first while the session is
paused, then while the policy drives. The gap between two animation frames of the browser says how
smooth that is; 60 Hz are 16.7 ms. A machine without a GPU draws with the processor.

The memory is the JavaScript heap after a collection, and all that the page's process has for itself
alone (private pages, whatever they hold).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import re
import sys
import tempfile
import time
from typing import Any

import numpy as np
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright
from test.chromium import find_chromium
from test.process import Process

from bench.result import Bar, machine, print_bars, write_result
from bench.rollout_tree import TASK, build, play
from hiwm_core.task import load_task

SESSION = 'grown'
OBSERVATIONS = 500  # different ones; see `bench.rollout_tree`
ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking']
PATIENCE = 60.0  # s, for the session and the page
SCROLL = """async (turns) => {
  const scroller = document.getElementById('scroller');
  const frame = () => new Promise((go) => requestAnimationFrame(go));
  const gaps = [];
  let last = await frame();
  for (let turn = 0; turn < turns; turn += 1) {
    scroller.scrollTop = (turn * 12) % Math.max(scroller.scrollHeight - scroller.clientHeight, 1);
    scroller.scrollLeft = (turn * 9) % Math.max(scroller.scrollWidth - scroller.clientWidth, 1);
    const now = await frame();
    gaps.push(now - last);
    last = now;
  }
  return gaps;
}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--nodes', type=int, default=5000, help='of the tree')
    parser.add_argument('--turns', type=int, default=600, help='animation frames to scroll for')
    parser.add_argument('--seed', type=int, default=0, help='of the tree')
    parser.add_argument('--json', type=Path, help='where the figures go')
    arguments = parser.parse_args()
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    facts = machine()
    with tempfile.TemporaryDirectory(prefix='hiwm-bench-') as folder:
        result = measure(Path(folder), arguments.nodes, arguments.turns, arguments.seed)
    bars = [
        Bar('scrolling, gap between frames, p95', result['paused']['gap_ms']['p95'], 17.5, 'ms'),
        Bar('the same while the policy drives', result['driving']['gap_ms']['p95'], 17.5, 'ms'),
        Bar('JavaScript heap of the page', result['heap_mb'], 200.0, 'MB'),
        Bar("the page's process, private memory", result['private_mb'], 200.0, 'MB'),
    ]
    result['seed'] = arguments.seed
    result['bars'] = [bar.as_dict() for bar in bars]
    result['machine'] = {**facts, 'load_average_after': machine()['load_average']}
    for name in ('paused', 'driving'):
        gaps = '  '.join(f'{key} {value:.1f}' for key, value in result[name]['gap_ms'].items())
        print(f'{name}: gap between frames, ms: {gaps}; {result[name]["rate_hz"]:.1f} Hz')
    print_bars(bars)
    if arguments.json:
        write_result(arguments.json, result)
    return 0


def measure(folder: Path, nodes: int, turns: int, seed: int) -> dict[str, Any]:
    """The figures of one session with a tree of so many nodes."""
    chromium = find_chromium()
    tree = folder / SESSION
    tree.mkdir()
    grown = build(tree, play(load_task(TASK), OBSERVATIONS, seed), nodes, seed)
    command = ['ros2', 'launch', 'hiwm_bringup', 'wm_session.launch.py', 'port:=0']
    command += [f'record_dir:={folder}', f'session:={SESSION}', 'autonomous:=false']
    with Process(command, folder / 'session.log') as session, sync_playwright() as playwright:
        address = wait_for_address(session)
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=ARGUMENTS,
        )
        figures = look(browser, address, nodes, turns)
        browser.close()
        session.interrupt()
    return {'nodes': nodes, 'branches': grown['branches'], **figures}


def look(browser: Browser, address: str, nodes: int, turns: int) -> dict[str, Any]:
    """Scroll through the timeline, paused and driving, and weigh the page."""
    page = browser.new_page(viewport={'width': 1280, 'height': 860})
    page.goto(address)
    page.wait_for_selector('#frame[data-count]', timeout=PATIENCE * 1e3)
    page.wait_for_function(
        'text => document.getElementById("tree-count").innerText.includes(text)',
        arg=f'{nodes:,} nodes',
        timeout=PATIENCE * 1e3,
    )
    figures: dict[str, Any] = {'paused': scroll(page, turns)}
    page.keyboard.press('Space')
    page.wait_for_function(
        'count => !document.getElementById("tree-count").innerText.includes(count)',
        arg=f'{nodes:,} nodes',
        timeout=PATIENCE * 1e3,
    )
    figures['driving'] = scroll(page, turns)
    protocol = page.context.new_cdp_session(page)
    protocol.send('HeapProfiler.collectGarbage')
    protocol.send('Performance.enable')
    metrics = protocol.send('Performance.getMetrics')['metrics']
    heap = next(one['value'] for one in metrics if one['name'] == 'JSHeapUsedSize')
    figures['heap_mb'] = round(heap / 1e6, 1)
    figures['private_mb'] = round(private_memory(browser.new_browser_cdp_session()) / 1e6, 1)
    return figures


def scroll(page: Page, turns: int) -> dict[str, Any]:
    """Gaps between animation frames while the timeline is scrolled."""
    gaps = np.asarray(page.evaluate(SCROLL, turns))
    middle, high, highest = np.percentile(gaps, (50, 95, 99))
    return {
        'gap_ms': {
            'p50': round(float(middle), 2),
            'p95': round(float(high), 2),
            'p99': round(float(highest), 2),
        },
        'rate_hz': round(1e3 / float(gaps.mean()), 2),
    }


def private_memory(protocol: CDPSession) -> int:
    """Bytes that the page's process shares with no other."""
    found = protocol.send('SystemInfo.getProcessInfo')['processInfo']
    pages = [one['id'] for one in found if one['type'] == 'renderer']
    most = 0
    for process in pages:
        kilobytes = re.findall(
            r'^Private_\w+:\s+(\d+) kB', Path(f'/proc/{process}/smaps_rollup').read_text(), re.M
        )
        most = max(most, 1024 * sum(map(int, kilobytes)))
    return most


def wait_for_address(session: Process) -> str:
    """The console's address, once it is printed."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = re.search(r'http://\S+', session.text)
        if found:
            return found.group()
        time.sleep(0.1)
    print(session.text[-3000:], file=sys.stderr)
    raise SystemExit('bench: the session printed no address; its output is above')


if __name__ == '__main__':
    sys.exit(main())
