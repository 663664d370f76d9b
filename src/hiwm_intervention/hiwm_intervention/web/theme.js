// SPDX-License-Identifier: Apache-2.0
// Light, dark, or as the system says; and the theme's colours for canvases.

import { backToPicture } from './focus.js';

const ORDER = ['auto', 'light', 'dark'];
const NAMES = { auto: 'as the system', light: 'light', dark: 'dark' };
const listeners = [];
let colours = new Map();

// The colour of a custom property as it is now, ready for a canvas.
export function colour(name) {
  if (!colours.has(name)) {
    const probe = document.createElement('span');
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    colours.set(name, getComputedStyle(probe).color);
    probe.remove();
  }
  return colours.get(name);
}

export function onTheme(listener) {
  listeners.push(listener);
}

function changed() {
  colours = new Map();
  for (const listener of listeners) listener();
}

function use(theme, button) {
  document.documentElement.dataset.theme = theme;
  button.setAttribute('aria-label', `Theme: ${NAMES[theme]}`);
  button.title = `Theme: ${NAMES[theme]}`;
  changed();
}

export function startTheme(button) {
  let theme = localStorage.getItem('theme');
  if (!ORDER.includes(theme)) theme = 'auto';
  use(theme, button);
  button.addEventListener('click', (event) => {
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
    localStorage.setItem('theme', theme);
    use(theme, button);
    backToPicture(event);
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', changed);
}
