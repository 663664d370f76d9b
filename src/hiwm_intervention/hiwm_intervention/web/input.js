// SPDX-License-Identifier: Apache-2.0
// What a person does, from all devices of this page, as one message: 20 times a second and on every change.

import { Gamepads } from './gamepad.js';
import { Keys } from './keys.js';

const SAMPLE_MS = 50;
// However fast a pointer moves and a screen is redrawn: the server closes a page that says too much.
const LEAST_MS = 10;

export class Input {
  // `send(held)` takes {keys, drag, device, deadman, at}.
  constructor({ keys, picture, send, takeOver, gamepadName }) {
    this.send = send;
    this.driving = false;
    this.canDrag = false;
    this.drag = null; // {pointer, from, to}
    this.waiting = false;
    this.sent = -Infinity;
    this.picture = picture;
    this.keys = new Keys(keys, () => this.changed());
    this.gamepads = new Gamepads({ changed: () => this.changed(), takeOver, name: gamepadName });
    setInterval(() => this.sample(), SAMPLE_MS);
    addEventListener('blur', () => this.releaseAll());
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) this.releaseAll();
    });
    // The browser's own menu takes the key's release, and so does a Mac's command key.
    addEventListener('contextmenu', (event) => {
      if (!event.defaultPrevented) this.keys.releaseAll();
    });
    for (const way of ['keydown', 'keyup']) {
      addEventListener(way, (event) => {
        if (event.key === 'Meta') this.keys.releaseAll();
      });
    }
    // No menu ends a drag: a finger that rests would open one, and it would take a button's release as well.
    picture.addEventListener('contextmenu', (event) => {
      if (this.drag) event.preventDefault();
    });
    picture.addEventListener('pointerdown', (event) => this.press(event));
    picture.addEventListener('pointermove', (event) => this.move(event));
    for (const end of ['pointerup', 'pointercancel', 'lostpointercapture']) {
      picture.addEventListener(end, (event) => this.lift(event));
    }
  }

  setTask(task) {
    this.keys.setTask(task.keys);
    this.canDrag = task.can_drag;
  }

  setDriving(driving) {
    if (driving === this.driving) return;
    this.driving = driving;
    this.keys.setDriving(driving);
    this.picture.classList.toggle('draggable', driving && this.canDrag);
    if (!driving) this.drag = null;
    this.gamepads.reset();
    this.sample();
  }

  // -- the pointer on the picture ---------------------------------------------------------------

  place(event) {
    const box = this.picture.getBoundingClientRect();
    const share = (value, size) => Math.round((value / size) * 1e5) / 1e5;
    return [share(event.clientX - box.left, box.width), share(event.clientY - box.top, box.height)];
  }

  press(event) {
    if (!this.driving || !this.canDrag || this.drag || event.button) return;
    event.preventDefault();
    this.picture.setPointerCapture(event.pointerId);
    const at = this.place(event);
    this.drag = { pointer: event.pointerId, from: at, to: at };
    this.changed();
  }

  move(event) {
    if (this.drag?.pointer !== event.pointerId) return;
    this.drag.to = this.place(event);
    this.changed();
  }

  lift(event) {
    if (this.drag?.pointer !== event.pointerId) return;
    this.drag = null;
    this.changed();
  }

  // -- all devices ------------------------------------------------------------------------------

  releaseAll() {
    this.drag = null;
    this.keys.releaseAll();
  }

  // At once, or as soon as the next message is due; then with what is held at that time.
  changed() {
    if (this.waiting || !this.driving) return;
    const at = performance.now();
    const wait = this.sent + LEAST_MS - at;
    if (wait <= 0) {
      this.sample(at);
      return;
    }
    this.waiting = true;
    setTimeout(() => {
      this.waiting = false;
      this.sample(at);
    }, wait);
  }

  sample(at = performance.now()) {
    if (!this.driving || document.hidden) return;
    const pad = this.gamepads;
    const held = { keys: this.keys.shares(), device: 'browser', deadman: true, at };
    if (pad.engaged) {
      held.device = 'gamepad';
      held.deadman = pad.pressed;
      for (const [key, share] of Object.entries(pad.shares)) {
        if (this.keys.has(key)) held.keys[key] = Math.max(held.keys[key] ?? 0, share);
      }
    }
    if (this.drag) {
      held.device = 'mouse';
      held.drag = [...this.drag.from, ...this.drag.to];
    }
    this.sent = performance.now();
    this.send(held);
  }
}
