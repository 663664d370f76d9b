// SPDX-License-Identifier: Apache-2.0
// The rollout tree as a timeline: branches are lanes, steps go to the right, a filmstrip on top.
//
// Only what is in sight is drawn: the canvas is as large as its window and stays in place, a spacer gives the
// browser something to scroll. Nodes are found by their step, so a drawing costs what can be seen of it, however
// large the tree is. `drawn` says how many nodes the last drawing touched.

import { HEAD, LANE, paintFilm, paintLane, paintLink, paintMark, paintNode, paintRuler } from './paint.js';
import { colour } from './theme.js';

const PAD = 14;
const SCALES = [0.5, 1, 2, 3, 4, 6, 9, 14, 22]; // px a step
const FOLLOW = 0.85; // of the width: the head is kept left of this

export class Timeline {
  // `on` has preview(node, lane), goTo(node), lanes(): what is in sight has changed.
  constructor({ scroller, canvas, spacer, tree, frames, on }) {
    Object.assign(this, { scroller, canvas, spacer, tree, frames, on });
    this.pen = canvas.getContext('2d');
    this.scale = 6;
    this.head = 0;
    this.headLane = '';
    this.selected = 0;
    this.walked = null; // the lane along whose path the selection is
    this.compared = null; // a lane's number
    this.following = true; // the head; until somebody scrolls away from it
    this.ratio = 0; // device pixels a pixel of the canvas
    this.drawn = 0;
    this.dirty = false;
    this.size = [0, 0];
    this.rows = 0;
    new ResizeObserver(() => this.resize()).observe(scroller);
    scroller.addEventListener(
      'scroll',
      () => {
        this.following = this.headInSight();
        this.touch();
      },
      { passive: true },
    );
    scroller.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
    canvas.addEventListener('pointerdown', (event) => this.press(event));
    canvas.addEventListener('pointermove', (event) => this.scrub(event));
    for (const end of ['pointerup', 'pointercancel']) {
      canvas.addEventListener(end, (event) => this.lift(event));
    }
  }

  // -- what is to be shown ----------------------------------------------------------------------

  setHead(node, lane) {
    if (node === this.head && lane === this.headLane) return;
    this.head = node;
    this.headLane = lane;
    this.reach();
    if (this.following && !this.selected) this.follow();
    this.touch();
  }

  // A node that is looked at; 0: none, and the head is followed again.
  select(node, lane = null) {
    if (!node) {
      this.following = true;
      this.follow();
    }
    if (node === this.selected && lane === this.walked) return;
    this.selected = node;
    this.walked = lane;
    if (node) this.reveal(node);
    this.touch();
  }

  compare(number) {
    this.compared = number;
    this.touch();
  }

  // The tree has grown.
  grown() {
    const rows = this.tree.lanes.length;
    // The newest lane is on top: what one looks at stays where it is.
    if (rows > this.rows && this.scroller.scrollTop > 0) {
      this.scroller.scrollTop += (rows - this.rows) * LANE;
    }
    this.rows = rows;
    this.reach();
    // The head's own place may only be known now.
    if (this.following && !this.selected) this.follow();
    this.touch();
  }

  // Give the browser as much to scroll as there is.
  reach() {
    const width = `${Math.ceil(this.x(this.tree.top) + 4 * PAD)}px`;
    const height = `${HEAD + this.tree.lanes.length * LANE + 6}px`;
    if (this.spacer.style.width !== width) this.spacer.style.width = width;
    if (this.spacer.style.height !== height) this.spacer.style.height = height;
  }

  zoom(by, at = this.size[0] / 2) {
    const index = SCALES.findIndex((scale) => scale >= this.scale);
    const scale = SCALES[Math.min(Math.max(index + by, 0), SCALES.length - 1)];
    const step = this.stepAt(at);
    this.scale = scale;
    this.reach();
    this.scroller.scrollLeft = step * scale + PAD - at;
    if (this.following && !this.selected) this.follow();
    this.touch();
  }

  follow() {
    const x = this.x(this.tree.steps[this.head] ?? 0) - this.scroller.scrollLeft;
    if (x > this.size[0] * FOLLOW || x < 0) {
      this.scroller.scrollLeft += x - this.size[0] * 0.6;
    }
    const lane = this.tree.laneNamed(this.headLane);
    if (lane) this.revealRow(this.row(lane));
  }

  headInSight() {
    const [width, height] = this.size;
    const x = this.x(this.tree.steps[this.head] ?? 0) - this.scroller.scrollLeft;
    const lane = this.tree.laneNamed(this.headLane);
    const middle = lane ? this.row(lane) * LANE + LANE / 2 - this.scroller.scrollTop : 0;
    return x >= 0 && x <= width && middle >= 0 && middle <= height - HEAD;
  }

  reveal(node) {
    const x = this.x(this.tree.steps[node]) - this.scroller.scrollLeft;
    if (x < PAD) this.scroller.scrollLeft += x - PAD * 4;
    else if (x > this.size[0] - PAD * 2) this.scroller.scrollLeft += x - this.size[0] + PAD * 6;
    this.revealRow(this.row(this.tree.laneOf(node)));
  }

  revealRow(row) {
    const top = row * LANE;
    const room = this.size[1] - HEAD;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    else if (top + LANE > this.scroller.scrollTop + room) this.scroller.scrollTop = top + LANE - room;
  }

  // -- places -----------------------------------------------------------------------------------

  x(step) {
    return step * this.scale + PAD;
  }

  row(lane) {
    return this.tree.lanes.length - 1 - lane.number;
  }

  laneAt(row) {
    return this.tree.lanes[this.tree.lanes.length - 1 - row];
  }

  stepAt(x) {
    return (x + this.scroller.scrollLeft - PAD) / this.scale;
  }

  // The branch whose path the filmstrip shows.
  filmLane() {
    return this.walked ?? this.tree.laneNamed(this.headLane) ?? this.tree.laneOf(this.head);
  }

  nodeAt(x, y) {
    const row = Math.floor((y - HEAD + this.scroller.scrollTop) / LANE);
    const lane = (y < HEAD ? this.filmLane() : this.laneAt(row)) ?? null;
    return { lane, node: lane ? this.tree.nearest(lane, this.stepAt(x)) : 0 };
  }

  // -- what a hand does -------------------------------------------------------------------------

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  press(event) {
    if (event.button) return;
    const [x, y] = this.place(event);
    const { node, lane } = this.nodeAt(x, y);
    this.pressed = { node, lane, x, y, again: node === this.selected, moved: false };
    // A finger in the lanes scrolls; on the filmstrip it scrubs.
    if (event.pointerType === 'mouse' || y < HEAD) {
      this.canvas.setPointerCapture(event.pointerId);
      this.pressed.scrubs = true;
      this.preview(this.pressed);
    }
  }

  scrub(event) {
    if (!this.pressed?.scrubs) return;
    const [x, y] = this.place(event);
    if (Math.hypot(x - this.pressed.x, y - this.pressed.y) > 4) this.pressed.moved = true;
    // Along the lane where it began: a hand that scrubs is not steady.
    if (this.pressed.moved) this.preview(this.nodeAt(x, this.pressed.y));
  }

  lift(event) {
    const pressed = this.pressed;
    this.pressed = null;
    if (!pressed || event.type === 'pointercancel' || pressed.moved) return;
    if (pressed.again && pressed.node) this.on.goTo(pressed.node);
    else this.preview(pressed);
  }

  preview({ node, lane }) {
    if (node) this.on.preview(node, lane);
  }

  wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    this.zoom(event.deltaY < 0 ? 1 : -1, this.place(event)[0]);
  }

  // -- drawing ----------------------------------------------------------------------------------

  resize() {
    const { clientWidth: width, clientHeight: height } = this.scroller;
    this.size = [width, height];
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    this.sharpen();
    if (this.following && !this.selected && this.tree.has(this.head)) this.follow();
    this.touch();
  }

  // As many pixels as the screen has; a window that moves to another screen keeps its size.
  sharpen() {
    const [width, height] = this.size;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.ratio = ratio;
  }

  touch() {
    if (this.dirty) return;
    this.dirty = true;
    requestAnimationFrame(() => {
      this.dirty = false;
      this.draw();
      this.canvas.dataset.drawn = this.drawn;
      this.on.lanes();
    });
  }

  // The lanes in sight, from the top: [lane, y of its middle].
  *inSight() {
    const top = this.scroller.scrollTop;
    const first = Math.max(Math.floor(top / LANE), 0);
    const last = Math.min(Math.ceil((top + this.size[1] - HEAD) / LANE), this.tree.lanes.length - 1);
    for (let row = first; row <= last; row += 1) {
      const lane = this.laneAt(row);
      if (lane) yield [lane, HEAD + row * LANE - top + LANE / 2];
    }
  }

  draw() {
    const { pen, tree } = this;
    const [width, height] = this.size;
    const left = this.scroller.scrollLeft;
    this.drawn = 0;
    if (this.ratio !== (devicePixelRatio || 1)) this.sharpen();
    pen.clearRect(0, 0, width, height);
    const view = {
      pen,
      tree,
      left: Math.max(Math.floor(this.stepAt(-20)), 0),
      right: Math.ceil(this.stepAt(width + 20)),
      x: (step) => this.x(step) - left,
      scale: this.scale,
      width,
      height,
      count: () => (this.drawn += 1),
    };
    pen.save();
    pen.beginPath();
    pen.rect(0, HEAD, width, height - HEAD);
    pen.clip();
    const lanes = [...this.inSight()];
    const here = tree.laneNamed(this.headLane);
    for (const [lane, y] of lanes) {
      if (lane === here || lane.number === this.compared) {
        pen.fillStyle = colour('press');
        pen.fillRect(0, y - LANE / 2, width, LANE);
      }
    }
    for (const [lane, y] of lanes) {
      const parent = tree.laneOf(lane.fork);
      if (parent) paintLink(view, lane, y, y + (this.row(parent) - this.row(lane)) * LANE);
    }
    const ys = new Map(lanes.map(([lane, y]) => [lane.number, y]));
    for (const [lane, y] of lanes) paintLane(view, lane, y);
    this.paintNodeOf(view, ys, this.head, 'head', here);
    if (this.compared !== null && this.selected) {
      const other = tree.nearest(tree.lanes[this.compared], tree.steps[this.selected]);
      this.paintNodeOf(view, ys, other, 'other');
    }
    this.paintNodeOf(view, ys, this.selected, 'selected');
    for (const mark of tree.marks) {
      const y = ys.get(tree.lanesOf[mark.node]);
      const x = tree.has(mark.node) ? view.x(tree.steps[mark.node]) : -100;
      if (y !== undefined && x > -20 && x < width + 20) paintMark(view, mark, x, y);
    }
    pen.restore();
    this.frames.forgetWishes();
    const film = this.filmLane();
    paintRuler(view);
    if (film) paintFilm(view, film, this.frames);
    this.frames.fetch();
    const at = this.selected || this.head;
    if (tree.has(at)) {
      pen.fillStyle = colour(this.selected ? 'selected' : 'accent');
      pen.fillRect(view.x(tree.steps[at]) - 1, 4, 2, HEAD - 4);
    }
  }

  paintNodeOf(view, ys, node, kind, lane = this.tree.laneOf(node)) {
    const y = lane && ys.get(lane.number);
    if (y === undefined || y === null || !this.tree.has(node)) return;
    paintNode(view, view.x(this.tree.steps[node]), y, kind);
  }
}
