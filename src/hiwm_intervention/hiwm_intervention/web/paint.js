// SPDX-License-Identifier: Apache-2.0
// How the timeline looks. Who chose a step is told by colour, height and pattern alike:
//   policy: a slim plain bar; a person: a tall hatched bar; handover: a striped bar; held: an empty outline.

import { colour } from './theme.js';
import { SOURCES } from './tree.js';

export const LANE = 28; // px
export const HEAD = 74; // px: ruler and filmstrip
const FILM_TOP = 18;
const FILM = 52; // px, height of a picture

const STYLES = {
  none: { height: 4, colour: 'edge' },
  policy: { height: 8, colour: 'policy' },
  operator: { height: 18, colour: 'operator', hatch: 5 },
  hold: { height: 8, colour: 'held', empty: true },
  handover: { height: 14, colour: 'handover-mark', stripes: 4 },
};

export function paintRuler({ pen, left, right, x, scale, width }) {
  const every = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((steps) => steps * scale >= 60) ?? 2000;
  pen.fillStyle = colour('card');
  pen.fillRect(0, 0, width, HEAD);
  pen.strokeStyle = colour('line');
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(0, HEAD - 0.5);
  pen.lineTo(width, HEAD - 0.5);
  pen.stroke();
  pen.fillStyle = colour('soft');
  pen.font = '11px system-ui, sans-serif';
  pen.textBaseline = 'middle';
  pen.textAlign = 'left';
  for (let step = Math.floor(left / every) * every; step <= right; step += every) {
    const at = Math.round(x(step)) + 0.5;
    pen.beginPath();
    pen.moveTo(at, 10);
    pen.lineTo(at, FILM_TOP - 2);
    pen.stroke();
    pen.fillText(String(step), at + 4, 9);
  }
}

// Pictures along the path of a branch, at steps that stay the same while one scrolls.
export function paintFilm(view, lane, frames) {
  const { pen, tree, left, right, x, scale } = view;
  const last = tree.lastStep(lane);
  const ratio = frames.ratio ?? 1;
  const wide = FILM * ratio;
  const every = Math.max(Math.ceil((wide + 3) / scale), 1);
  for (let step = Math.floor(left / every) * every - every; step <= Math.min(right, last); step += every) {
    if (step < 0) continue;
    const node = tree.nodeAt(lane, step);
    if (!node) continue;
    view.count();
    const picture = frames.get(node);
    const at = Math.round(x(step));
    if (picture) {
      pen.imageSmoothingEnabled = false;
      pen.drawImage(picture, at, FILM_TOP, wide, FILM);
    } else {
      pen.fillStyle = colour('bar');
      pen.fillRect(at, FILM_TOP, wide, FILM);
    }
    pen.strokeStyle = colour('line');
    pen.lineWidth = 1;
    pen.strokeRect(at + 0.5, FILM_TOP + 0.5, wide - 1, FILM - 1);
  }
}

// Where a branch left another one.
export function paintLink({ pen, tree, x }, lane, y, parentY) {
  const at = x(tree.steps[lane.fork]);
  pen.strokeStyle = colour('edge');
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.moveTo(at, parentY);
  pen.lineTo(at, y + 6);
  pen.quadraticCurveTo(at, y, at + 6, y);
  pen.stroke();
}

// A branch: one bar for each run of steps that the same one chose.
export function paintLane(view, lane, y) {
  const { tree, left, right } = view;
  const last = tree.lastStep(lane);
  const from = Math.max(left, lane.first);
  let began = from;
  let source = -1;
  for (let step = from; step <= Math.min(right, last); step += 1) {
    const node = lane.nodes[step - lane.first];
    view.count();
    const now = node ? tree.sources[node] : 0;
    if (now === source) continue;
    if (source >= 0) paintBar(view, source, began, step - 1, y);
    source = now;
    began = step;
  }
  if (source >= 0) paintBar(view, source, began, Math.min(right, last), y);
}

function paintBar({ pen, x, scale, width }, source, first, last, y) {
  const style = STYLES[SOURCES[source]] ?? STYLES.none;
  // A step is the way to its node.
  const from = Math.max(x(first) - (source ? scale : 2), -20);
  const to = Math.min(x(last), width + 20);
  const wide = Math.max(to - from, 2);
  const top = y - style.height / 2;
  pen.fillStyle = colour(style.colour);
  pen.strokeStyle = colour(style.colour);
  if (style.empty) {
    pen.lineWidth = 1.5;
    pen.strokeRect(from + 0.75, top + 0.75, Math.max(wide - 1.5, 1), style.height - 1.5);
    return;
  }
  pen.fillRect(from, top, wide, style.height);
  const gap = style.hatch ?? style.stripes;
  if (!gap) return;
  pen.save();
  pen.beginPath();
  pen.rect(from, top, wide, style.height);
  pen.clip();
  pen.strokeStyle = colour('card');
  pen.lineWidth = style.hatch ? 1.2 : 1.6;
  pen.beginPath();
  const lean = style.hatch ? style.height : 0;
  for (let at = from - lean - ((from - lean) % gap); at < to; at += gap) {
    pen.moveTo(at, top + style.height);
    pen.lineTo(at + lean, top);
  }
  pen.stroke();
  pen.restore();
}

// A bookmark: a star set by hand, a diamond set by an automatic pause.
export function paintMark({ pen }, mark, x, y) {
  pen.fillStyle = colour(mark.automatic ? 'bad' : 'mark');
  pen.strokeStyle = colour('card');
  pen.lineWidth = 1.5;
  pen.beginPath();
  if (mark.automatic) {
    for (const [dx, dy] of [[0, -7], [6, 0], [0, 7], [-6, 0]]) pen.lineTo(x + dx, y - 7 + dy);
  } else {
    for (let point = 0; point < 10; point += 1) {
      const angle = (point * Math.PI) / 5 - Math.PI / 2;
      const radius = point % 2 ? 3.2 : 7.5;
      pen.lineTo(x + radius * Math.cos(angle), y - 7 + radius * Math.sin(angle));
    }
  }
  pen.closePath();
  pen.fill();
  pen.stroke();
}

const RINGS = {
  head: { colour: 'accent', radius: 5, filled: true },
  other: { colour: 'handover-mark', radius: 7 },
  selected: { colour: 'selected', radius: 7 },
};

export function paintNode({ pen }, x, y, kind) {
  const ring = RINGS[kind];
  pen.beginPath();
  pen.arc(x, y, ring.radius, 0, 2 * Math.PI);
  pen.fillStyle = ring.filled ? colour(ring.colour) : colour('card');
  pen.strokeStyle = ring.filled ? colour('card') : colour(ring.colour);
  pen.lineWidth = ring.filled ? 2 : 3;
  pen.fill();
  pen.stroke();
}
