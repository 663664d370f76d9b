// SPDX-License-Identifier: Apache-2.0
// The driving keys: what is held down, on the keyboard and on the key caps, and the key caps themselves.

const ROWS = ['1234567890', 'qwertyuiop', 'asdfghjkl', 'zxcvbnm'];
const MANY = 4; // columns that leave room for words beside them

// The letter or digit at that place of the keyboard, whatever the layout writes there.
export function keyOf(event) {
  const place = /^(?:Key|Digit)(.)$/.exec(event.code);
  return (place ? place[1] : event.key).toLowerCase();
}

export class Keys {
  // `changed()` is called whenever another key is held.
  constructor(element, changed) {
    this.element = element;
    this.changed = changed;
    this.caps = new Map();
    this.holders = new Map(); // key -> set of what holds it: 'keyboard' or a pointer's id
  }

  setTask(keys) {
    this.releaseAll();
    this.caps.clear();
    let beyond = ROWS[0].length; // where keys go that are in none of these rows
    const places = Object.keys(keys).map((key) => {
      const row = ROWS.findIndex((letters) => letters.includes(key));
      if (row >= 0) return { key, row, column: ROWS[row].indexOf(key) };
      beyond += 1;
      return { key, row: 0, column: beyond };
    });
    // Rows and columns without a key are left out, but for one gap between groups.
    const columns = [...new Set(places.map((place) => place.column))].sort((a, b) => a - b);
    const rows = [...new Set(places.map((place) => place.row))].sort((a, b) => a - b);
    const across = new Map();
    const widths = [];
    columns.forEach((column, index) => {
      if (index && column - columns[index - 1] > 1) widths.push('minmax(0, 1rem)');
      widths.push('minmax(0, var(--cap))');
      across.set(column, widths.length);
    });
    this.element.style.gridTemplateColumns = widths.join(' ');
    this.element.parentElement.classList.toggle('stacked', columns.length > MANY);
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
    cap.title = words.join(' ');
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
    this.element.classList.toggle('live', driving);
  }

  press(key, by) {
    if (!this.holders.has(key)) this.holders.set(key, new Set());
    this.holders.get(key).add(by);
    this.show();
  }

  release(key, by) {
    const holders = this.holders.get(key);
    if (!holders?.delete(by)) return;
    if (!holders.size) this.holders.delete(key);
    this.show();
  }

  releaseAll() {
    this.holders.clear();
    this.show();
  }

  show() {
    for (const [key, cap] of this.caps) cap.classList.toggle('down', this.holders.has(key));
    this.changed();
  }

  // key -> 1 for what is down.
  shares() {
    return Object.fromEntries([...this.holders.keys()].map((key) => [key, 1]));
  }
}
