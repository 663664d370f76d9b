// SPDX-License-Identifier: Apache-2.0
// The rollout tree as the page knows it: rows come in, places are looked up. No drawing here.

export const SOURCES = ['none', 'policy', 'operator', 'hold', 'handover'];
// What the multiplexer calls the bookmarks of its automatic pauses.
const AUTOMATIC = /^(fidelity|stall|spread)-\d+(-\d+)?$/;

export class Tree {
  constructor() {
    this.clear();
  }

  clear() {
    this.key = '';
    this.generation = -1;
    this.complete = false;
    this.count = 0;
    this.top = 0; // the largest step
    this.room = 1024;
    this.parents = new Uint32Array(this.room);
    this.steps = new Uint32Array(this.room);
    this.lanesOf = new Uint32Array(this.room);
    this.sources = new Uint8Array(this.room); // 255: no such node
    this.sources.fill(255);
    this.lanes = []; // by number; holes where a branch is not described yet
    this.marks = []; // bookmarks: {name, node, automatic}
  }

  // What the server tells; see console_feed.
  take(told) {
    if (told.fresh) this.clear();
    this.key = told.key;
    this.generation = told.generation;
    for (const [node, parent, step, number, source] of told.nodes) {
      this.put(node, parent, step, number, source);
    }
    for (const lane of told.lanes) Object.assign(this.lane(lane.number), lane, { known: true });
    if (told.checkpoints) {
      this.marks = Object.entries(told.checkpoints)
        .map(([name, node]) => ({ name, node, automatic: AUTOMATIC.test(name) }))
        .sort((a, b) => a.node - b.node);
    }
    this.complete = !told.more;
  }

  put(node, parent, step, number, source) {
    if (node >= this.room) this.grow(node);
    if (this.sources[node] === 255) this.count += 1;
    this.parents[node] = parent;
    this.steps[node] = step;
    this.lanesOf[node] = number;
    this.sources[node] = source;
    if (step > this.top) this.top = step;
    const lane = this.lane(number);
    if (!lane.nodes.length) lane.first = step;
    if (step < lane.first) {
      lane.nodes = new Array(lane.first - step).fill(0).concat(lane.nodes);
      lane.first = step;
    }
    lane.nodes[step - lane.first] = node;
  }

  grow(node) {
    while (this.room <= node) this.room *= 2;
    for (const name of ['parents', 'steps', 'lanesOf', 'sources']) {
      const wide = new this[name].constructor(this.room);
      if (name === 'sources') wide.fill(255);
      wide.set(this[name]);
      this[name] = wide;
    }
  }

  lane(number) {
    this.lanes[number] ??= { number, name: '', nodes: [], first: 0, fork: 0, head: 0, label: 'none' };
    return this.lanes[number];
  }

  has(node) {
    return node > 0 && node < this.room && this.sources[node] !== 255;
  }

  laneOf(node) {
    return this.has(node) ? this.lanes[this.lanesOf[node]] : null;
  }

  laneNamed(name) {
    return this.lanes.find((lane) => lane?.name === name) ?? null;
  }

  // The last step of a branch; where it left another one if it has no step of its own.
  lastStep(lane) {
    if (lane.nodes.length) return lane.first + lane.nodes.length - 1;
    return this.has(lane.fork) ? this.steps[lane.fork] : 0;
  }

  // The node at a step of the path from the root to the end of a branch; 0 if there is none.
  nodeAt(lane, step) {
    let at = lane;
    while (at) {
      if (at.nodes.length && step >= at.first) return at.nodes[step - at.first] ?? 0;
      if (!this.has(at.fork)) return 0;
      if (this.steps[at.fork] === step) return at.fork;
      at = this.laneOf(at.fork);
    }
    return 0;
  }

  // The nearest node to a step on the path of a branch.
  nearest(lane, step) {
    const last = this.lastStep(lane);
    return this.nodeAt(lane, Math.min(Math.max(Math.round(step), 0), last));
  }

  marksOf(node) {
    return this.marks.filter((mark) => mark.node === node);
  }

  // In words, for whoever cannot see the picture.
  describe(node) {
    const lane = this.laneOf(node);
    if (!lane) return 'nothing';
    const marks = this.marksOf(node).map((mark) => `bookmark ${mark.name}`);
    const who = { operator: 'a person', hold: 'held' }[SOURCES[this.sources[node]]] ?? SOURCES[this.sources[node]];
    const by = this.sources[node] ? `by ${who}` : 'the start';
    return [`step ${this.steps[node]} of ${lane.name}`, by, ...marks].join(', ');
  }
}
