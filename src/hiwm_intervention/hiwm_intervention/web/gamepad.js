// SPDX-License-Identifier: Apache-2.0
// A gamepad of the standard layout: sticks stand for the driving keys, a button is the dead-man.

const DEAD_ZONE = 0.15;
const DEADMEN = [0, 4, 5]; // the lower face button and both bumpers: any of them, held
const TAKE_OVER = 9; // Start
// The keys that each axis stands for, when it is negative and when it is positive.
const AXES = [
  ['a', 'd'],
  ['w', 's'],
  ['j', 'l'],
  ['i', 'k'],
];

export class Gamepads {
  // `changed()` when something moved, `takeOver()` when Start was pressed, `name(text, strange)`: what is connected, or what is but
  // cannot be used.
  constructor({ changed, takeOver, name }) {
    this.on = { changed, takeOver, name };
    this.engaged = false; // the dead-man was pressed since `reset`
    this.pressed = false;
    this.shares = {};
    this.start = false;
    this.polling = false;
    for (const event of ['gamepadconnected', 'gamepaddisconnected']) {
      addEventListener(event, () => this.begin());
    }
    this.begin();
  }

  begin() {
    const pad = this.pad();
    const strange = pad ? null : this.devices()[0];
    const name = (device) => device?.id.replace(/\s*\(.*$/, '') ?? '';
    this.on.name(name(pad), name(strange));
    if (!pad) this.see({}, false, false);
    else if (!this.polling) this.poll();
  }

  devices() {
    return [...(navigator.getGamepads?.() ?? [])].filter((pad) => pad?.connected);
  }

  // In another layout an axis may rest at its end, and would drive by itself.
  pad() {
    return this.devices().find((pad) => pad.mapping === 'standard') ?? null;
  }

  poll() {
    const pad = this.pad();
    this.polling = Boolean(pad);
    if (!pad) return;
    const shares = {};
    AXES.forEach((keys, axis) => {
      const value = pad.axes[axis] ?? 0;
      const share = Math.min((Math.abs(value) - DEAD_ZONE) / (1 - DEAD_ZONE), 1);
      if (share > 0) shares[keys[value > 0 ? 1 : 0]] = Math.round(share * 1000) / 1000;
    });
    const down = (button) => Boolean(pad.buttons[button]?.pressed);
    this.see(shares, DEADMEN.some(down), down(TAKE_OVER));
    requestAnimationFrame(() => this.poll());
  }

  see(shares, pressed, start) {
    if (start && !this.start) this.on.takeOver();
    this.start = start;
    if (pressed) this.engaged = true;
    const news = pressed !== this.pressed || JSON.stringify(shares) !== JSON.stringify(this.shares);
    this.pressed = pressed;
    this.shares = shares;
    if (news) this.on.changed();
  }

  // Another takeover: the dead-man counts from its next press on.
  reset() {
    this.engaged = this.pressed;
  }
}
