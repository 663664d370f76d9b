# SPDX-License-Identifier: Apache-2.0
"""What a page does of itself: what it says, draws and sends, whatever devices and windows do."""

from __future__ import annotations

import re
from typing import Any

from browser_desk import until
from playwright.sync_api import Page
import pytest
from tree_desk import Rig, looked_at

PLACE = """() => {
  const scroller = document.getElementById('scroller');
  return [scroller.scrollLeft, scroller.scrollTop];
}"""
AWAY = "document.getElementById('scroller').scrollTo(0, 1e6)"


def test_a_page_begins_where_the_head_is(page: Page, rig: Rig) -> None:
    step = rig.tree.node(rig.tree.head).step
    in_sight = """(step) => {
      const scroller = document.getElementById('scroller');
      const x = 14 + 6 * step - scroller.scrollLeft;
      return 0 <= x && x <= scroller.clientWidth;
    }"""
    until(lambda: page.evaluate(in_sight, step), 'the head')


def test_the_timeline_stays_where_it_was_scrolled_to(page: Page, rig: Rig) -> None:
    followed = page.evaluate(PLACE)
    page.evaluate(AWAY)
    until(lambda: page.get_attribute('#live', 'aria-disabled') == 'false', 'a way back')
    scrolled = page.evaluate(PLACE)
    assert scrolled != followed
    step = rig.tree.node(rig.tree.head).step
    rig.go_on(5)
    until(lambda: page.inner_text('#step') == str(step + 5), 'the steps')
    assert page.evaluate(PLACE) == scrolled
    page.keyboard.press('Escape')
    until(lambda: page.get_attribute('#live', 'aria-disabled') == 'true', 'the head in sight')
    back = page.evaluate(PLACE)
    rig.go_on(200)
    until(lambda: page.inner_text('#step') == str(step + 205), 'more steps')
    until(lambda: page.evaluate(PLACE)[0] > back[0], 'the timeline to follow')


def test_the_timeline_is_sharp_on_another_screen(page: Page, rig: Rig) -> None:
    devtools = page.context.new_cdp_session(page)
    metrics: Any = {'width': 1440, 'height': 900, 'deviceScaleFactor': 2, 'mobile': False}
    devtools.send('Emulation.setDeviceMetricsOverride', metrics)
    until(lambda: page.evaluate('devicePixelRatio') == 2, 'the other screen')
    rig.go_on(1)
    wide = """() => {
      const canvas = document.getElementById('timeline');
      return canvas.width / canvas.clientWidth;
    }"""
    until(lambda: page.evaluate(wide) == pytest.approx(2, abs=0.01), 'its pixels')


def test_a_pause_that_comes_again_is_no_bookmark_of_a_person(page: Page) -> None:
    found = page.evaluate(
        """async () => {
          const { Tree } = await import('./tree.js');
          const tree = new Tree();
          const checkpoints = { 'stall-0050': 1, 'stall-0050-2': 2, 'mark-2': 3 };
          tree.take({ key: 'a', generation: 0, nodes: [], lanes: [], checkpoints });
          return tree.marks.map((mark) => mark.automatic);
        }"""
    )
    assert found == [True, True, False]


def test_a_label_keeps_its_note_and_a_note_keeps_its_label(page: Page, rig: Rig) -> None:
    page.keyboard.press('Home')
    for _ in rig.tree.branches:
        page.keyboard.press('ArrowDown')
    assert re.search(r'of run-1\b', looked_at(page)), 'the lowest lane'
    until(lambda: page.get_attribute('[data-label=failure]', 'aria-pressed') == 'true', 'run-1')

    def judge(label: str, note: str) -> tuple[str, str]:
        page.fill('#note', note)
        page.click(f'[data-label={label}]')
        until(lambda: rig.asked, 'the ask')
        fields = rig.asked.pop()['fields']
        assert fields['branch'] == 'run-1'
        return fields['label'], fields['note']

    assert judge('failure', 'and fell') == ('failure', 'and fell'), 'a note is no second press'
    assert judge('discard', '') == ('discard', 'slipped'), 'what was noted stays'
    assert judge('failure', '') == ('none', 'slipped')
    page.keyboard.press('Escape')


def test_a_page_that_nobody_sees_gathers_nothing(page: Page) -> None:
    """A hidden page has no refresh of its screen; what waits for one must not pile up."""
    waiting = page.evaluate(
        """async () => {
          const { Latency } = await import('./latency.js');
          const asked = [];
          window.requestAnimationFrame = (act) => asked.push(act);
          const latency = new Latency();
          for (let stamp = 1; stamp <= 500; stamp += 1) latency.draws(String(stamp));
          const waiting = asked.length;
          asked.forEach((act) => act());
          return [waiting, latency.frames.map(([stamp]) => stamp)];
        }"""
    )
    assert waiting == [1, [500]]


@pytest.mark.parametrize('device', ['pointer', 'gamepad'])
def test_no_device_says_more_than_the_server_hears(page: Page, device: str) -> None:
    """However often a screen is redrawn: above 240 messages a second the server closes the page."""
    sent, elapsed = page.evaluate(
        """async (device) => {
          const { Input } = await import('./input.js');
          const pad = {
            id: 'pad', connected: true, mapping: 'standard', axes: [0, 0, 0, 0],
            buttons: Array.from({ length: 17 }, () => ({ pressed: true })),
          };
          if (device === 'gamepad') navigator.getGamepads = () => [pad];
          window.requestAnimationFrame = (act) => setTimeout(act, 2);
          const [picture, keys] = [document.createElement('div'), document.createElement('div')];
          let sent = 0;
          const input = new Input({
            picture, keys, send: () => (sent += 1), takeOver() {}, gamepadName() {},
          });
          input.setDriving(true);
          if (device === 'pointer') input.drag = { pointer: 1, from: [0, 0], to: [0, 0] };
          const began = performance.now();
          for (let turn = 0; turn < 300; turn += 1) {
            pad.axes[0] = turn % 2;
            input.move({ pointerId: 1, clientX: turn, clientY: turn });
            await new Promise((go) => setTimeout(go, 1));
          }
          return [sent, performance.now() - began];
        }""",
        device,
    )
    assert 3 < sent < 0.18 * elapsed, 'the server also hears of the views that were seen'


def test_only_a_gamepad_whose_layout_is_known_drives(page: Page) -> None:
    """In another layout a trigger may be where a stick is expected, and rests at its end."""
    found = page.evaluate(
        """async () => {
          const { Gamepads } = await import('./gamepad.js');
          const pad = (id, mapping, rest) => ({
            id, mapping, connected: true, axes: [0, 0, rest, 0],
            buttons: Array.from({ length: 17 }, () => ({ pressed: true })),
          });
          const strange = pad('Joystick (1)', '', -1);
          const told = [];
          navigator.getGamepads = () => [strange];
          const name = (...names) => told.push(names);
          const pads = new Gamepads({ changed() {}, takeOver() {}, name });
          const alone = [pads.engaged, pads.shares];
          navigator.getGamepads = () => [strange, pad('Pad', 'standard', 0)];
          window.dispatchEvent(new Event('gamepadconnected'));
          return { told, alone, pressed: pads.pressed, shares: pads.shares };
        }"""
    )
    assert found['told'] == [['', 'Joystick'], ['Pad', '']]
    assert found['alone'] == [False, {}]
    assert (found['pressed'], found['shares']) == (True, {})


@pytest.mark.parametrize('width', [1280, 390])
def test_the_caps_of_two_arms_fit(page: Page, width: int) -> None:
    page.set_viewport_size({'width': width, 'height': 800})
    boxes = page.evaluate(
        """async () => {
          const { Keys } = await import('./keys.js');
          const keys = Object.fromEntries([...'wasdijkl,.'].map((key) => [key, { waist: 0.5 }]));
          new Keys(document.getElementById('keys'), () => {}).setTask(keys);
          return [...document.querySelectorAll('.cap')].map((cap) => {
            const { left, right, top, bottom } = cap.getBoundingClientRect();
            return { left, right, top, bottom };
          });
        }"""
    )
    card = page.locator('.drive').bounding_box()
    assert card is not None and len(boxes) == 10
    for box in boxes:
        assert card['x'] - 1 <= box['left'] and box['right'] <= card['x'] + card['width'] + 1
        assert box['right'] - box['left'] >= 24, 'large enough for a finger (WCAG 2.5.8)'
    for one in boxes:
        for other in boxes:
            apart = one['right'] <= other['left'] or one['bottom'] <= other['top']
            apart = apart or other['right'] <= one['left'] or other['bottom'] <= one['top']
            assert apart or one is other


def test_a_key_that_drives_is_offered_for_nothing_else(page: Page) -> None:
    page.evaluate(
        """async () => (await import('./panels.js')).showDrivingKeys({ b: { waist: 1 } })"""
    )
    assert page.is_hidden('#branch-button kbd')
    assert page.is_visible('#bookmark-button kbd')
    page.click('#help-open')
    rows = page.locator('#help tr:visible').all_inner_texts()
    assert [row for row in rows if re.match(r'B\b', row)] == ['B\tdrive waist +']
    page.keyboard.press('Escape')


def test_a_silent_rig_drives_nobody(page: Page, rig: Rig) -> None:
    session = rig.session
    session.tell(0.0)
    told = session.tell(rig.heard + 40.0)
    rig.server.show({**told, 'starts': []})
    until(lambda: page.inner_text('#who') == 'The rig is silent', 'the headline')
    assert page.get_attribute('body', 'data-silent') == 'true'
    assert page.inner_text('#rate') == 'stands still'
    rig.show()
    until(lambda: page.inner_text('#who') != 'The rig is silent', 'the rig again')


@pytest.mark.parametrize('width', [1280, 390])
def test_the_end_of_a_fault_can_be_read(page: Page, rig: Rig, width: int) -> None:
    page.set_viewport_size({'width': width, 'height': 800})
    fault = (
        'no frame has come from /camera/camera/color/image_raw for 1.2 s; look to the camera, '
        'then reset the rig'
    )
    rig.show(message=fault)
    until(lambda: fault[3:] in page.inner_text('#why'), 'the fault')
    assert fault[3:] in str(page.get_attribute('#why', 'title'))
    room = page.evaluate(
        """() => {
          const why = document.getElementById('why');
          return [why.scrollWidth - why.clientWidth, why.scrollHeight - why.clientHeight];
        }"""
    )
    rig.show()
    assert max(room) <= 1, room
