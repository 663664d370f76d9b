// SPDX-License-Identifier: Apache-2.0
// Progress, success and fidelity as lines over the last minutes.

import { colour } from './theme.js';

const WINDOW_MS = 180_000;
const LINES = [
  { name: 'progress', colour: 'line-progress', dash: [], width: 2.5 },
  { name: 'success', colour: 'line-success', dash: [7, 4], width: 2 },
  { name: 'fidelity', colour: 'line-fidelity', dash: [2, 3], width: 2 },
];

export class Chart {
  constructor(canvas) {
    this.canvas = canvas;
    this.points = []; // {at, progress, success, fidelity, gap}
    this.place = '';
    this.goal = null;
    this.title = 'progress';
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  setTask(task) {
    this.goal = task.success_above;
    this.title = task.progress_name;
  }

  take(rig, now = performance.now()) {
    const place = `${rig.epoch}/${rig.step}`;
    if (place === this.place || rig.context) return;
    const [epoch] = this.place.split('/');
    this.place = place;
    const { progress, success, fidelity } = rig;
    // A jump in the scene is no movement: the line is broken there.
    this.points.push({ at: now, progress, success, fidelity, gap: epoch !== String(rig.epoch) });
    while (this.points.length && now - this.points[0].at > WINDOW_MS) this.points.shift();
    this.draw(now);
  }

  draw(now = performance.now()) {
    const { canvas } = this;
    const ratio = devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!width) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const y = (value) => 5 + (1 - Math.min(Math.max(value, 0), 1)) * (height - 10);
    pen.strokeStyle = colour('line');
    pen.lineWidth = 1;
    for (const share of [0, 0.5, 1]) {
      pen.beginPath();
      pen.moveTo(0, y(share));
      pen.lineTo(width, y(share));
      pen.stroke();
    }
    if (this.goal !== null) {
      pen.strokeStyle = colour('soft');
      pen.setLineDash([1, 4]);
      pen.beginPath();
      pen.moveTo(0, y(this.goal));
      pen.lineTo(width, y(this.goal));
      pen.stroke();
    }
    // The first minute fills the width; then the window grows to its full length.
    const span = Math.min(Math.max(60_000, now - (this.points[0]?.at ?? now)), WINDOW_MS);
    const x = (at) => width - ((now - at) / span) * width;
    for (const line of LINES) {
      pen.strokeStyle = colour(line.colour);
      pen.lineWidth = line.width;
      pen.setLineDash(line.dash);
      pen.beginPath();
      let drawing = false;
      for (const point of this.points) {
        const value = point[line.name];
        if (value === null) drawing = false;
        else if (drawing && !point.gap) pen.lineTo(x(point.at), y(value));
        else pen.moveTo(x(point.at), y(value));
        drawing = value !== null;
      }
      pen.stroke();
    }
    pen.setLineDash([]);
  }

  // The same in words.
  describe(now = performance.now()) {
    const recent = this.points.filter((point) => now - point.at <= 60_000);
    const words = LINES.map(({ name }) => {
      const values = recent.map((point) => point[name]).filter((value) => value !== null);
      const title = name === 'progress' ? this.title : name;
      if (!values.length) return `${title} unknown`;
      const percent = (value) => Math.round(value * 100);
      return `${title} ${percent(values.at(-1))} %, between ${percent(Math.min(...values))} and ${percent(Math.max(...values))}`;
    });
    return `In the last minute: ${words.join('; ')}.`;
  }
}
