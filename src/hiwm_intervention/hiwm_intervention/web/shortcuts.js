// SPDX-License-Identifier: Apache-2.0
// The page's keys: driving keys first, then Stop, then all others, of which characters can be switched off.

import { keyOf } from './keys.js';

const isField = (element) =>
  element.matches('input:not([type=checkbox]), textarea, select');

// `does` maps keys to functions; `keys` are the driving keys; `leave` is called where Escape leaves a field.
export function listen({ keys, does, stop, enabled, leave }) {
  document.addEventListener('keydown', (event) => {
    // The one key that works in every field as well.
    if (event.key === 'Pause') {
      event.preventDefault();
      stop();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = keyOf(event);
    const pressed = event.key.toLowerCase();
    const stops = pressed === 'x' || key === 'x';
    if (document.querySelector('dialog[open]')) {
      if (stops && !event.repeat) stop();
      return;
    }
    if (isField(event.target)) {
      if (event.key === 'Escape') leave();
      return;
    }
    if (keys.has(key)) {
      event.preventDefault();
      if (!event.repeat) keys.press(key, 'keyboard');
      return;
    }
    if (stops) {
      event.preventDefault();
      if (!event.repeat) stop();
      return;
    }
    const act = does[pressed] ?? does[key];
    // Only characters can be switched off: what is spoken or typed by mistake is made of them. An input method gives
    // a character's key another name.
    const name = does[pressed] ? pressed : key;
    if (!act || (name.length === 1 && !enabled())) return;
    // Whoever walks by Tab presses buttons with these.
    const presses = [' ', 'enter'].includes(pressed);
    if (presses && event.target.matches('button, input, summary')) return;
    const repeats = /^(arrow|[+=-]$)/.test(pressed);
    if (event.repeat && !repeats) return;
    event.preventDefault();
    act(event);
  });
  document.addEventListener('keyup', (event) => keys.release(keyOf(event), 'keyboard'));
}
