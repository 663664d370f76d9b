// SPDX-License-Identifier: Apache-2.0
// The driving keys: what is held down, on the keyboard and on the key caps, and the key caps themselves.

const ROWS = ['1234567890', 'qwertyuiop', 'asdfghjkl', 'zxcvbnm'];
const SAMPLE_MS = 50;

// The letter or digit at that place of the keyboard, whatever the layout writes there.
export function keyOf(event) {
  const place = /^(?:Key|Digit)(.)$/.exec(event.code);
  return (place ? place[1] : event.key).toLowerCase();
}

export class Keys {
  // `send(keys)` is called with the held keys on every change, and 20 times a second while driving.
  constructor(element, send) {
    this.element = element;
    this.send = send;
    this.caps = new Map();
    this.held = new Map(); // key -> set of what holds it: 'keyboard' or a pointer's id
    this.driving = false;
    setInterval(() => this.sample(), SAMPLE_MS);
    window.addEventListener('blur', () => this.releaseAll());
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) this.releaseAll();
    });
  }

  setTask(keys) {
    this.releaseAll();
    this.caps.clear();
    const places = Object.keys(keys).map((key) => {
      const row = ROWS.findIndex((letters) => letters.includes(key));
      return { key, row: Math.max(row, 0), column: row < 0 ? 11 : ROWS[row].indexOf(key) };
    });
    // Rows and columns without a key are left out, but for one gap between groups.
    const columns = [...new Set(places.map((place) => place.column))].sort((a, b) => a - b);
    const rows = [...new Set(places.map((place) => place.row))].sort((a, b) => a - b);
    const across = new Map();
    columns.forEach((column, index) => {
      const gap = index && column - columns[index - 1] > 1 ? 1 : 0;
      across.set(column, index ? across.get(columns[index - 1]) + 1 + gap : 1);
    });
    this.element.replaceChildren(
      ...places.map((place) => {
        const cap = this.makeCap(place.key, keys[place.key]);
        cap.style.gridColumn = across.get(place.column);
        cap.style.gridRow = rows.indexOf(place.row) + 1;
        return cap;
      }),
    );
  }

  makeCap(key, moves) {
    const cap = document.createElement('button');
    cap.type = 'button';
    cap.className = 'cap';
    cap.tabIndex = -1;
    const words = Object.entries(moves).map(([name, speed]) => `${name}${speed > 0 ? '+' : '−'}`);
    const hint = document.createElement('small');
    hint.textContent = words.join(' ');
    cap.append(key.toUpperCase(), hint);
    cap.setAttribute('aria-label', `${key}: ${words.join(' ')}`);
    cap.addEventListener('pointerdown', (event) => {
      event.preventDefault();
      cap.setPointerCapture(event.pointerId);
      this.press(key, event.pointerId);
    });
    for (const end of ['pointerup', 'pointercancel', 'lostpointercapture']) {
      cap.addEventListener(end, (event) => this.release(key, event.pointerId));
    }
    cap.addEventListener('contextmenu', (event) => event.preventDefault());
    this.caps.set(key, cap);
    return cap;
  }

  has(key) {
    return this.caps.has(key);
  }

  setDriving(driving) {
    if (driving === this.driving) return;
    this.driving = driving;
    this.element.classList.toggle('live', driving);
    this.sample();
  }

  press(key, by) {
    if (!this.held.has(key)) this.held.set(key, new Set());
    this.held.get(key).add(by);
    this.changed();
  }

  release(key, by) {
    const holders = this.held.get(key);
    if (!holders?.delete(by)) return;
    if (!holders.size) this.held.delete(key);
    this.changed();
  }

  releaseAll() {
    this.held.clear();
    this.changed();
  }

  changed() {
    for (const [key, cap] of this.caps) cap.classList.toggle('down', this.held.has(key));
    this.sample();
  }

  sample() {
    if (this.driving && !document.hidden) this.send([...this.held.keys()]);
  }
}
