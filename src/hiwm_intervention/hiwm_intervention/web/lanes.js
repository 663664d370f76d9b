// SPDX-License-Identifier: Apache-2.0
// The names of the branches beside the timeline's lanes: only those in sight are elements of the page.

import { HEAD, LANE } from './paint.js';

const LABELS = { success: '✓ good', failure: '✕ bad', discard: '– discard' };

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export class Lanes {
  // `onClick(lane, event)` when a name is pressed.
  constructor(list, timeline, onClick) {
    this.list = list;
    this.timeline = timeline;
    this.onClick = onClick;
    this.items = new Map(); // lane's number -> element
    list.addEventListener('wheel', (event) => (timeline.scroller.scrollTop += event.deltaY), { passive: true });
  }

  // Rows are kept by their branch and moved: what is rebuilt under the finger cannot be clicked.
  show(here, compared) {
    const { tree } = this.timeline;
    const stale = new Map(this.items);
    for (const [lane, y] of this.timeline.inSight()) {
      let item = this.items.get(lane.number);
      if (!item) {
        item = this.make(lane.number);
        this.items.set(lane.number, item);
        this.list.append(item);
      }
      stale.delete(lane.number);
      const top = `translateY(${Math.round(y - LANE / 2 - HEAD)}px)`;
      if (item.style.transform !== top) item.style.transform = top;
      item.dataset.name = lane.name;
      const button = item.firstElementChild;
      const current = lane.name === here;
      if (current) button.setAttribute('aria-current', 'true');
      else button.removeAttribute('aria-current');
      const steps = tree.lastStep(lane) - (tree.has(lane.fork) ? tree.steps[lane.fork] : 0);
      const parent = tree.laneOf(lane.fork);
      const from = parent ? `, from ${parent.name} at step ${tree.steps[lane.fork]}` : '';
      const start = !parent && lane.seed !== null && lane.seed !== undefined ? `, start ${lane.seed}` : '';
      say(button.children[0], lane.name);
      const badge = lane.number === compared ? 'A' : LABELS[lane.label] ?? '';
      say(button.children[1], badge || (current ? 'here' : ''));
      button.children[1].dataset.label = lane.number === compared ? 'compared' : lane.label;
      const title = `${lane.name}: ${steps} ${steps === 1 ? 'step' : 'steps'}${from}${start}`;
      const whole = [title, LABELS[lane.label], lane.note].filter(Boolean).join('. ');
      if (button.title !== whole) {
        button.title = whole;
        button.setAttribute('aria-label', whole);
      }
    }
    for (const [number, item] of stale) {
      item.remove();
      this.items.delete(number);
    }
  }

  clear() {
    for (const item of this.items.values()) item.remove();
    this.items.clear();
  }

  make(number) {
    const item = document.createElement('li');
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'lane';
    for (const part of ['name', 'badge']) {
      const span = document.createElement('span');
      span.className = `lane-${part}`;
      button.append(span);
    }
    button.addEventListener('click', (event) => {
      const lane = this.timeline.tree.lanes[number];
      if (lane) this.onClick(lane, event);
    });
    item.append(button);
    return item;
  }
}
