# SPDX-License-Identifier: Apache-2.0
"""The timeline with 5,000 nodes of a real rollout tree, served by the real server, in Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from browser_desk import PATIENCE, until
import numpy as np
from playwright.sync_api import Browser, Page
from test.network import Network
from tree_desk import NODES, VIEWPORT, Rig, looked_at

from hiwm_core.action import Source

MEMORY = 200e6  # bytes, in the page
# What a window of this size can show: lanes in sight times steps in sight, and the filmstrip.
MOST_DRAWN = 5000


SCROLL = """async () => {
  const scroller = document.getElementById('scroller');
  const canvas = document.getElementById('timeline');
  const frame = () => new Promise((go) => requestAnimationFrame(go));
  const drawn = [];
  const gaps = [];
  let last = await frame();
  for (let turn = 0; turn < 240; turn += 1) {
    scroller.scrollTop = (turn * 12) % Math.max(scroller.scrollHeight - scroller.clientHeight, 1);
    scroller.scrollLeft = (turn * 9) % Math.max(scroller.scrollWidth - scroller.clientWidth, 1);
    const now = await frame();
    gaps.push(now - last);
    last = now;
    drawn.push(Number(canvas.dataset.drawn));
  }
  gaps.sort((a, b) => a - b);
  const [most, least] = [Math.max(...drawn), Math.min(...drawn)];
  return { most, least, gap_p50: gaps[120], gap_p95: gaps[228] };
}"""


def test_scrolling_through_5000_nodes_draws_only_what_is_in_sight(
    page: Page, rig: Rig, chromium: Browser, record_property: Any
) -> None:
    figures = page.evaluate(SCROLL)
    assert 0 < figures['least'] <= figures['most'] < MOST_DRAWN
    lanes = page.locator('#branches li').count()
    assert 0 < lanes < len(rig.tree.branches), 'only the names in sight are elements'
    # Memory: what JavaScript holds, and what the page's process has to itself.
    metrics = page.context.new_cdp_session(page)
    metrics.send('Performance.enable')
    metrics.send('HeapProfiler.collectGarbage')
    values = {
        one['name']: one['value'] for one in metrics.send('Performance.getMetrics')['metrics']
    }
    processes = chromium.new_browser_cdp_session().send('SystemInfo.getProcessInfo')['processInfo']
    private = max(private_bytes(int(one['id'])) for one in processes if one['type'] == 'renderer')
    record_property('heap_bytes', values['JSHeapUsedSize'])
    record_property('private_bytes', private)
    record_property('frame_ms', figures)
    print(
        f'heap {values["JSHeapUsedSize"] / 1e6:.1f} MB, process {private / 1e6:.0f} MB, {figures}'
    )
    assert values['JSHeapUsedSize'] < MEMORY / 4
    assert private < MEMORY


def private_bytes(process: int) -> int:
    """Memory that belongs to this process alone."""
    lines = Path(f'/proc/{process}/smaps_rollup').read_text().splitlines()
    return sum(
        1024 * int(line.split()[1]) for line in lines if line.startswith(('Private_', 'Swap:'))
    )


def test_a_step_more_is_a_row_more(page: Page, rig: Rig) -> None:
    page.evaluate(
        """() => {
          window.bytes = 0;
          const parse = JSON.parse;
          JSON.parse = (text) => {
            window.bytes += text.length;
            return parse(text);
          };
        }"""
    )
    before = len(rig.tree.nodes)
    head = rig.tree.observation(rig.tree.head)
    for _ in range(20):
        rig.tree.add_child(head, np.zeros(2), Source.OPERATOR, rig.tree.head_branch)
        rig.show()
    until(lambda: f'{before + 20:,} nodes' in page.inner_text('#tree-count'), 'twenty more')
    assert page.evaluate('window.bytes') < 100_000, 'the tree is not told anew'


def test_looking_back_shows_the_very_frame(page: Page, rig: Rig) -> None:
    page.keyboard.press('ArrowLeft')
    head = rig.tree.node(rig.tree.head)
    until(lambda: f'looking at step {head.step - 1} of' in looked_at(page), 'one step back')
    for _ in range(3):
        page.keyboard.press('Shift+ArrowLeft')
    until(lambda: f'step {head.step - 31} of' in looked_at(page), 'thirty more')
    node = next(one for index, one in enumerate(rig.tree.ancestors(head.id)) if index == 31)
    until(lambda: page.get_attribute('#past canvas', 'data-node') == str(node.id), 'its frame')
    shown = page.evaluate(
        """() => {
          const canvas = document.querySelector('#past canvas');
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          return Array.from(data);
        }"""
    )
    frame = rig.tree.observation(node.id).frame
    assert (np.array(shown).reshape(*frame.shape[:2], 4)[:, :, :3] == frame).all()
    page.keyboard.press('Home')
    until(lambda: 'step 0 of' in looked_at(page), 'the root')
    page.keyboard.press('Escape')
    until(lambda: looked_at(page).startswith('live at'), 'the live picture')
    assert rig.asked == [], 'to look back asks for nothing'


def test_a_picture_that_could_not_be_had_is_asked_for_again(page: Page, rig: Rig) -> None:
    head = rig.tree.node(rig.tree.head)
    rig.away = True
    for _ in range(2):
        page.keyboard.press('Shift+ArrowLeft')
    until(lambda: f'step {head.step - 20} of' in looked_at(page), 'twenty steps back')
    until(lambda: page.query_selector('#past .waiting'), 'a picture that is not there')
    assert page.get_attribute('#past canvas', 'data-node') == ''
    rig.away = False
    node = next(one for index, one in enumerate(rig.tree.ancestors(head.id)) if index == 20)
    until(lambda: page.get_attribute('#past canvas', 'data-node') == str(node.id), 'its frame')
    assert page.query_selector('#past .waiting') is None
    page.keyboard.press('Escape')


LATER = """() => {
  window.attempts = [];
  window.later = [];
  window.fetch = async (address) => {
    window.attempts.push(address);
    await new Promise(requestAnimationFrame);
    throw new TypeError('Failed to fetch');
  };
  window.setTimeout = (act) => window.later.push(act);
}"""
DRAWINGS = """async () => {
  for (let drawing = 0; drawing < 20; drawing += 1) await new Promise(requestAnimationFrame);
}"""
ATTEMPTS = "window.attempts.filter((address) => address.endsWith('width=0')).length"


def test_a_console_that_is_away_is_not_asked_without_a_pause(page: Page) -> None:
    page.evaluate(LATER)
    page.keyboard.press('Home')
    until(lambda: page.evaluate(ATTEMPTS), 'a frame to be asked for')
    page.evaluate(DRAWINGS)
    assert page.evaluate(ATTEMPTS) == 1
    page.evaluate('window.later.splice(0).forEach((act) => act())')
    until(lambda: page.evaluate(ATTEMPTS) == 2, 'it to be asked for again')
    page.evaluate(DRAWINGS)
    assert page.evaluate(ATTEMPTS) == 2


def test_without_shortcuts_keys_that_are_no_characters_work(page: Page, rig: Rig) -> None:
    page.keyboard.press('?')
    page.click('#shortcuts')
    page.keyboard.press('Escape')
    page.keyboard.press('ArrowLeft')
    until(lambda: looked_at(page).startswith('looking at'), 'one step back')
    page.keyboard.press('b')
    # What an input method makes of the same key.
    page.evaluate(
        """document.body.dispatchEvent(new KeyboardEvent(
          'keydown', { key: 'Process', code: 'KeyB', bubbles: true }))"""
    )
    page.keyboard.press('Backspace')
    until(lambda: rig.asked, 'the ask')
    assert [asked['name'] for asked in rig.asked] == ['rollback']
    rig.asked.clear()
    page.keyboard.press('Escape')
    until(lambda: looked_at(page).startswith('live at'), 'the live picture')


def test_after_a_reconnection_nothing_is_looked_at_nor_judged(chromium: Browser, rig: Rig) -> None:
    port = int(rig.server.url.split(':')[2].split('/')[0])
    with Network(port) as network:
        page = chromium.new_page(viewport=VIEWPORT)
        page.goto(rig.server.url.replace(f':{port}', f':{network.port}'))
        page.wait_for_selector('#frame[data-count]', timeout=PATIENCE * 1e3)
        whole = f'{len(rig.tree.nodes):,} nodes'
        until(lambda: whole in page.inner_text('#tree-count'), 'the whole tree')
        page.keyboard.press('ArrowDown')
        until(lambda: looked_at(page).startswith('looking at'), 'another branch')
        network.drop()
        until(lambda: looked_at(page).startswith('live at'), 'the live picture')
        page.click('button[data-label=success]')
        until(lambda: rig.asked, 'the ask')
        assert rig.asked.pop()['fields']['branch'] == ''
        page.close()


def test_a_click_looks_and_another_goes_there(page: Page, rig: Rig) -> None:
    box = page.locator('#timeline').bounding_box()
    assert box is not None
    place = box['x'] + 14 + 6 * 40, box['y'] + 74 + 14  # step 40 of the uppermost branch
    page.evaluate("document.getElementById('scroller').scrollTo(0, 0)")
    until(lambda: page.evaluate("document.getElementById('scroller').scrollLeft") == 0, 'its place')
    page.mouse.click(*place)
    until(lambda: 'looking at step 40 of' in looked_at(page), 'a look')
    assert rig.asked == []
    page.mouse.click(*place)
    until(lambda: rig.asked, 'the ask')
    asked = rig.asked.pop()
    assert asked['name'] == 'go_to'
    node = rig.tree.node(asked['fields']['node'])
    assert node.step == 40
    # B branches at what is looked at, M sets a bookmark there.
    for key, name in (('b', 'branch'), ('m', 'checkpoint')):
        page.keyboard.press(key)
        until(lambda: rig.asked, name)
        asked = rig.asked.pop()
        assert (asked['name'], asked['fields']['node']) == (name, node.id)
    page.keyboard.press('Escape')


def test_two_branches_are_compared_step_by_step(page: Page, rig: Rig) -> None:
    page.keyboard.press('End')
    page.keyboard.press('c')
    page.keyboard.press('ArrowDown')
    page.keyboard.press('ArrowLeft')
    captions = page.locator('#past figcaption')
    until(lambda: captions.nth(1).is_visible(), 'two pictures')
    left, right = captions.all_inner_texts()
    assert left.startswith('A  ') and right.startswith('B  ')
    assert left.split('·')[0] != right.split('·')[0]
    canvases = page.locator('#past canvas').all()
    until(lambda: all(canvas.get_attribute('data-node') for canvas in canvases), 'both frames')
    steps = [caption.split('step ')[1].split(',')[0] for caption in (left, right)]
    assert int(steps[0]) <= int(steps[1])
    page.keyboard.press('Escape')
    until(lambda: page.is_hidden('#past'), 'the live picture')


def test_thumbnails_are_fetched_for_what_is_in_sight(page: Page, rig: Rig) -> None:
    assert len(set(rig.fetched)) < NODES / 5
    until(lambda: rig.fetched, 'thumbnails')
