# SPDX-License-Identifier: Apache-2.0
"""The console in real Chromium, with the simulated arm and the multiplexer as real processes."""

from __future__ import annotations

import signal
import time
from typing import Any

from browser_desk import (
    DRIVEN_STEPS,
    TOKEN,
    Console,
    Operator,
    until,
)
from playwright.sync_api import Browser, BrowserContext
import pytest


def test_holding_d_moves_the_pusher_to_the_right_in_the_picture(operator: Operator) -> None:
    before, shown, picture = operator.pusher(), operator.frames, operator.pixels()
    operator.take_over()
    assert operator.text('who').startswith('You drive')
    operator.drive('d')
    operator.pause()
    after = operator.pusher()
    assert operator.frames > shown
    assert (operator.pixels() != picture).any()
    assert after[0] > before[0] + 0.5 * DRIVEN_STEPS * 0.025 / 0.512 * 96
    assert after[1] == pytest.approx(before[1], abs=1.5)
    operator.take_over()
    operator.drive('a')
    operator.pause()
    assert operator.pusher()[0] < after[0] - 5


def test_roll_back_shows_the_earlier_frame_pixel_for_pixel(operator: Operator) -> None:
    operator.take_over()
    operator.drive('d')
    operator.pause()
    step, picture = operator.step, operator.pixels()
    operator.take_over()
    operator.drive('s')
    operator.pause()
    assert (operator.pixels() != picture).any()
    operator.page.fill('#rollback-steps', str(operator.step - step))
    operator.page.keyboard.press('Escape')
    operator.page.keyboard.press('Backspace')
    until(lambda: operator.step == step, 'the earlier step')
    operator.settle()
    assert (operator.pixels() == picture).all()
    assert 'Back at step' in operator.text('said')
    assert operator.text('who') == 'Paused: nobody drives'


def test_branches_appear_are_judged_and_lead_back(operator: Operator) -> None:
    before = operator.branches()
    operator.take_over()
    operator.drive('d')
    operator.pause()
    end, picture = operator.step, operator.pixels()
    trunk = operator.text('branch')
    operator.page.fill('#rollback-steps', str(end + 1))
    operator.page.keyboard.press('Escape')
    operator.page.keyboard.press('Backspace')
    until(lambda: 'is too far' in operator.text('alarm'), 'a refusal in words')
    operator.roll_back(3)
    name = f'left-{time.monotonic_ns()}'
    operator.page.fill('#name', name)
    operator.page.click('#branch-button')
    until(lambda: name in operator.branches(), 'the branch beside its lane')
    until(lambda: operator.text('branch') == name, 'the branch at the head')
    assert operator.branches() == [name, *before]
    operator.take_over()
    operator.drive('a', steps=4)
    operator.pause()
    operator.page.click('[data-label=failure]')
    lane = operator.page.locator(f'#branches li[data-name="{name}"]')
    until(lambda: 'bad' in lane.inner_text(), 'the label')
    assert f'from {trunk} at step {end - 3}' in str(lane.locator('button').get_attribute('title'))
    operator.page.fill('#name', f'spot-{name}')
    operator.page.click('#bookmark-button')
    until(lambda: f'spot-{name}' in operator.looked_at, 'the bookmark')
    # Once to look, once more to go there.
    operator.page.click(f'#branches li[data-name="{trunk}"] button')
    until(lambda: f'looking at step {end} of {trunk}' in operator.looked_at, 'a look')
    assert operator.text('branch') == name, 'a look changes nothing'
    operator.page.click(f'#branches li[data-name="{trunk}"] button')
    until(lambda: operator.step == end, 'the end of the first branch')
    operator.settle()
    assert (operator.pixels() == picture).all()


def test_losing_the_focus_lets_the_keys_go(operator: Operator) -> None:
    operator.take_over()
    operator.page.keyboard.down('d')
    until(lambda: operator.page.query_selector('.cap.down'), 'a key that is down')
    start = operator.step
    until(lambda: operator.step > start + 2, 'steps')
    operator.page.evaluate("window.dispatchEvent(new Event('blur'))")
    assert operator.page.query_selector('.cap.down') is None
    until(lambda: 'time stands still' in operator.text('who'), 'time to stand still')
    step, shown = operator.step, operator.frames
    until(lambda: operator.frames > shown + 5, 'frames without a key')
    assert operator.step <= step + 1
    assert operator.phase == 'correcting', 'the page is still there, so it still drives'
    operator.page.keyboard.up('d')


def test_what_takes_a_keys_release_lets_it_go(operator: Operator) -> None:
    """The browser's own menu, and the command key of a Mac."""
    operator.take_over()
    for take in (
        lambda: operator.page.mouse.click(300, 30, button='right'),
        lambda: operator.page.keyboard.press('Meta'),
    ):
        operator.page.keyboard.down('d')
        until(lambda: operator.page.query_selector('.cap.down'), 'a key that is down')
        take()
        assert operator.page.query_selector('.cap.down') is None
        operator.page.keyboard.up('d')


MENU = """(selector) => {
  const event = new PointerEvent('contextmenu', { bubbles: true, cancelable: true });
  document.querySelector(selector).dispatchEvent(event);
  return !event.defaultPrevented;
}"""


@pytest.mark.parametrize('held', ['#frame', '.cap'])
def test_a_finger_that_rests_opens_no_menu_and_goes_on(operator: Operator, held: str) -> None:
    operator.take_over()
    box = operator.page.locator(held).first.bounding_box()
    assert box is not None
    operator.page.mouse.move(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2)
    operator.page.mouse.down()
    assert operator.page.evaluate(MENU, held) is False
    assert (operator.page.query_selector('.cap.down') is not None) == (held == '.cap')
    operator.page.mouse.up()
    assert operator.page.evaluate(MENU, '#frame') is True


def test_stop_is_in_reach_beside_an_open_dialog(operator: Operator) -> None:
    for stop in (
        lambda: operator.page.keyboard.press('x'),
        lambda: operator.page.click('#help .stop'),
    ):
        operator.page.click('#help-open')
        stop()
        operator.wait_for('locked')
        operator.page.keyboard.press('Escape')
        # Opened by a pointer, it leaves the keys to the picture: space unlocks.
        until(lambda: operator.page.evaluate('document.activeElement.id') == 'frame', 'the focus')
        operator.go_on()
        operator.wait_for('paused')


@pytest.mark.parametrize('control', ['#theme', 'label:has(#show-marks)', '#show-marks'])
def test_after_a_click_the_keys_are_the_pictures(operator: Operator, control: str) -> None:
    operator.page.click(control)
    until(lambda: operator.page.evaluate('document.activeElement.id') == 'frame', 'the focus')


def test_a_key_cap_that_is_pressed_and_held_drives(operator: Operator) -> None:
    before = operator.pusher()
    operator.take_over()
    box = operator.page.locator('.cap', has_text='D').bounding_box()
    assert box is not None
    operator.page.mouse.move(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2)
    operator.page.mouse.down()
    start = operator.step
    until(lambda: operator.step >= start + DRIVEN_STEPS, 'steps')
    operator.page.mouse.up()
    assert operator.page.query_selector('.cap.down') is None
    operator.pause()
    assert operator.pusher()[0] > before[0] + 5


def test_typing_a_name_does_not_drive(operator: Operator) -> None:
    operator.page.click('#note')
    operator.page.keyboard.type('was bad at start')
    assert operator.page.input_value('#note') == 'was bad at start'
    assert operator.phase == 'paused'
    operator.page.keyboard.press('Escape')
    assert operator.page.evaluate('document.activeElement.id') == 'frame'


def test_a_second_page_watches_and_can_stop(operator: Operator, desk: BrowserContext) -> None:
    second = Operator(desk, operator.page.url)
    operator.take_over()
    until(lambda: second.text('who') == 'Another operator drives', 'the second page to watch')
    second.page.keyboard.press('t')
    until(lambda: 'is in control' in second.text('alarm'), 'a refusal in words')
    assert operator.page.is_hidden('#wheel')
    second.page.click('#wheel')
    until(lambda: 'asks for the wheel' in operator.text('why'), 'the question on this page')
    until(lambda: second.text('why') == 'You asked for the wheel.', 'the question on the other')
    operator.page.keyboard.press('t')
    operator.wait_for('paused')
    second.take_over()
    until(lambda: operator.text('who') == 'Another operator drives', 'the wheel has changed hands')
    second.release()
    operator.take_over()
    shown = second.frames
    until(lambda: second.frames > shown, 'the second page to see frames')
    second.page.click('.stop')
    operator.wait_for('locked')
    assert operator.text('who') == 'Stopped'
    operator.go_on()
    operator.wait_for('paused')


SURPRISED = """() => new MutationObserver((_, observer) => {
  if (document.body.dataset.phase === 'correcting') return;
  observer.disconnect();
  const space = { key: ' ', code: 'Space', bubbles: true };
  document.body.dispatchEvent(new KeyboardEvent('keydown', space));
}).observe(document.body, { attributeFilter: ['data-phase'] })"""


def test_a_press_that_crosses_a_stop_does_not_undo_it(
    operator: Operator, desk: BrowserContext
) -> None:
    """Who presses Space to pause, and is late by a moment, must not set anything going."""
    second = Operator(desk, operator.page.url)
    operator.take_over()
    operator.page.evaluate(SURPRISED)
    second.page.click('.stop')
    until(lambda: 'press again to go on' in operator.text('alarm'), 'a refusal in words')
    assert operator.phase == 'locked'
    operator.go_on()
    operator.wait_for('paused')


def test_a_page_that_closes_while_it_drives_pauses_the_session(
    operator: Operator, desk: BrowserContext
) -> None:
    second = Operator(desk, operator.page.url)
    operator.take_over()
    operator.page.keyboard.down('d')
    second.wait_for('correcting')
    operator.page.close()
    second.wait_for('paused')
    second.take_over()
    second.pause()


def test_without_the_token_there_is_nothing(
    operator: Operator, console: Console, chromium: Browser
) -> None:
    assert 'token' not in operator.page.url
    with chromium.new_context() as context:
        page = context.new_page()
        response = page.goto(console.base)
        assert response is not None and response.status == 403
        assert page.query_selector('canvas, script, img') is None
        for path in ('console.js', 'ws', '?token=guess'):
            assert page.request.get(console.base + path).status == 403
        outcome = page.evaluate(
            """() => new Promise((settle) => {
              const socket = new WebSocket(`ws://${location.host}/ws`);
              socket.onmessage = () => settle('a message');
              socket.onclose = () => settle('closed');
            })"""
        )
        assert outcome == 'closed'


def test_the_page_comes_back_after_the_console_does(operator: Operator, console: Console) -> None:
    console.process.stop(signal.SIGKILL)
    operator.wait_for('offline')
    assert operator.text('who') == 'Not connected'
    shown = operator.frames
    before = operator.text('tree-count')
    operator.page.evaluate("document.body.dataset.sameDocument = 'yes'")
    console.start()
    operator.wait_for('paused')
    until(lambda: operator.frames > shown, 'frames again')
    until(lambda: 'missed 0 steps and 0 branches' in operator.text('said'), 'what was missed')
    assert operator.page.evaluate('document.body.dataset.sameDocument') == 'yes'
    until(lambda: operator.text('tree-count') == before, 'the tree again')
    operator.take_over()
    operator.drive('d', steps=3)
    operator.pause()


def test_the_token_is_written_once(operator: Operator, console: Console) -> None:
    assert console.process.text().count(TOKEN) == 1


@pytest.mark.parametrize('width', [1280, 390])
def test_nothing_jumps_while_a_session_goes_on(operator: Operator, width: int) -> None:
    operator.page.set_viewport_size({'width': width, 'height': 800})
    operator.settle()
    operator.page.evaluate(
        """() => {
          window.shifts = [];
          new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) {
              const moved = entry.sources.map(({ node, previousRect: was, currentRect: is }) =>
                `${node?.id || node?.nodeName} ${was.x},${was.y} ${is.x},${is.y}`);
              window.shifts.push([entry.value, ...moved]);
            }
          }).observe({ type: 'layout-shift' });
        }"""
    )
    operator.take_over()
    operator.drive('d')
    operator.pause()
    operator.roll_back(5)
    operator.page.click('#branches li button')
    until(lambda: operator.past() is not None, 'a frame of the past')
    operator.page.click('#live')
    operator.page.click('[data-ask=release]', force=True)
    until(lambda: 'nothing to release' in operator.text('alarm'), 'a refusal in words')
    operator.page.click('.stop')
    operator.wait_for('locked')
    time.sleep(0.8)
    operator.page.click('#pause')
    operator.wait_for('paused')
    assert operator.page.evaluate('window.shifts') == []
    width_needed = operator.page.evaluate('document.documentElement.scrollWidth')
    assert width_needed <= width, 'nothing has to be scrolled sideways'


CONTRAST = """() => {
  const channel = (value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  };
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const element of document.querySelectorAll('body *')) {
    const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!words || !element.checkVisibility() || element.closest('#picture')) continue;
    const opacity = Number(getComputedStyle(element).opacity);
    const back = behind(element);
    const front = parse(getComputedStyle(element).color).slice(0, 3)
      .map((value, index) => value * opacity + back[index] * (1 - opacity));
    const [low, high] = [light(front), light(back)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) bad.push(`${element.textContent.trim()} ${ratio.toFixed(2)}`);
  }
  return bad;
}"""


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_every_word_has_the_contrast_of_wcag_aa(operator: Operator, scheme: Any) -> None:
    operator.page.emulate_media(color_scheme=scheme)
    phases = ('autonomous', 'paused', 'handover', 'correcting', 'locked', 'unknown', 'offline')
    for phase in phases:
        bad = operator.page.evaluate(
            f"""() => {{
              document.body.dataset.phase = '{phase}';
              document.getElementById('alarm').textContent = 'Something is wrong.';
              return ({CONTRAST})();
            }}"""
        )
        assert bad == [], f'{scheme}, {phase}'


def test_everything_can_be_reached_by_keyboard_and_shows_its_focus(operator: Operator) -> None:
    seen = set()
    for _ in range(70):
        operator.page.keyboard.press('Tab')
        reached = operator.page.evaluate(
            """() => {
              const element = document.activeElement;
              const style = getComputedStyle(element);
              const visible = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
              return [element.id || element.dataset.ask || '', visible];
            }"""
        )
        if reached[0]:
            assert reached[1], f'{reached[0]} shows no focus'
            seen.add(reached[0])
    wanted = {'stop', 'help-open', 'take', 'release', 'pause', 'step', 'rollback-steps'}
    wanted |= {'branch-button', 'bookmark-button', 'compare', 'reset', 'label', 'note', 'scroller'}
    assert seen >= {*wanted, 'show-marks', 'theme', 'zoom-in', 'sessions-open', 'remember'}
    operator.page.focus('#help-open')
    operator.page.keyboard.press('Enter')
    assert operator.page.is_visible('#help')
    operator.page.keyboard.press('Escape')
    assert not operator.page.is_visible('#help')
