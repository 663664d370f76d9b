// SPDX-License-Identifier: Apache-2.0
// The picture: the newest frame, pixel for pixel; above it where the arm is and is sent and where things are to go;
// and in front of it, while somebody looks back, one or two frames of the past.

import { colour } from './theme.js';

const MARK_PIXELS = 768; // of the longer side of the canvas of marks, whatever the size of the frame

export class Picture {
  constructor(root) {
    this.root = root;
    this.frame = root.querySelector('#frame');
    this.marks = root.querySelector('#marks');
    this.past = root.querySelector('#past');
    this.pixels = this.frame.getContext('2d', { alpha: false });
    this.lines = this.marks.getContext('2d');
    this.count = 0;
    this.showMarks = false;
    this.targets = [];
    this.guide = []; // bodies of a start that is being set up
    this.root.classList.add('blank');
  }

  setTask(task) {
    this.targets = task.targets;
    // After a reconnection the last picture stays until the next one comes.
    if (!this.count) this.resize(task.width, task.height);
  }

  resize(width, height) {
    this.frame.width = width;
    this.frame.height = height;
    const scale = MARK_PIXELS / Math.max(width, height);
    this.marks.width = Math.round(width * scale);
    this.marks.height = Math.round(height * scale);
    this.root.style.setProperty('--ratio', width / height);
  }

  async show(image, stamp) {
    const bitmap = await createImageBitmap(image, { colorSpaceConversion: 'none' });
    if (bitmap.width !== this.frame.width || bitmap.height !== this.frame.height) {
      this.resize(bitmap.width, bitmap.height);
    }
    this.pixels.drawImage(bitmap, 0, 0);
    bitmap.close();
    this.count += 1;
    this.frame.dataset.stamp = stamp;
    this.frame.dataset.count = this.count;
    this.root.classList.remove('blank');
  }

  // One or two frames of the past, each {bitmap or null, caption}; none: the live picture.
  showPast(frames) {
    this.past.hidden = !frames.length;
    this.root.classList.toggle('looking-back', frames.length > 0);
    this.past.dataset.count = frames.length;
    [...this.past.children].forEach((figure, index) => {
      const frame = frames[index];
      figure.hidden = !frame;
      if (!frame) return;
      const [canvas, caption] = figure.children;
      if (caption.textContent !== frame.caption) caption.textContent = frame.caption;
      const { bitmap } = frame;
      const pen = canvas.getContext('2d', { alpha: false });
      canvas.dataset.node = bitmap ? frame.node : '';
      // The one before stays until it is here, but pale: it is not what the caption says.
      figure.classList.toggle('waiting', !bitmap);
      if (!bitmap) return;
      if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
        canvas.width = bitmap.width;
        canvas.height = bitmap.height;
      }
      pen.drawImage(bitmap, 0, 0);
    });
  }

  drawMarks(marks) {
    const { width, height } = this.marks;
    this.lines.clearRect(0, 0, width, height);
    for (const body of this.guide) this.wanted(body);
    if (!this.showMarks) return;
    for (const outline of this.targets) this.outline(outline);
    for (const mark of marks) {
      if (mark.commanded) this.cross(mark.commanded[0] * width, mark.commanded[1] * height);
      if (mark.measured) this.ring(mark.measured[0] * width, mark.measured[1] * height);
    }
  }

  // Where a body is to lie: filled, so that what is not covered yet is seen at a glance.
  wanted({ name, place, outline }) {
    const { width, height } = this.marks;
    const path = new Path2D();
    const [x, y] = [place[0] * width, place[1] * height];
    if (outline) {
      for (const [u, v] of outline) path.lineTo(u * width, v * height);
      path.closePath();
    } else {
      path.arc(x, y, 24, 0, 2 * Math.PI);
    }
    this.lines.fillStyle = 'rgba(255, 213, 74, 0.3)';
    this.lines.fill(path);
    this.stroke(path);
    if (!outline) this.cross(x, y);
    this.word(name, x, y + (outline ? 0 : 52));
  }

  word(text, x, y) {
    this.lines.setLineDash([]);
    this.lines.font = '600 26px system-ui, sans-serif';
    this.lines.textAlign = 'center';
    this.lines.textBaseline = 'middle';
    this.lines.lineWidth = 6;
    this.lines.strokeStyle = 'rgba(0, 0, 0, 0.75)';
    this.lines.strokeText(text, x, y);
    this.lines.fillStyle = colour('overlay');
    this.lines.fillText(text, x, y);
  }

  // Every line is drawn dark and wide, then light and narrow, so that it shows on any picture.
  stroke(path, dash = []) {
    this.lines.setLineDash(dash);
    this.lines.lineWidth = 7;
    this.lines.strokeStyle = 'rgba(0, 0, 0, 0.75)';
    this.lines.stroke(path);
    this.lines.lineWidth = 3;
    this.lines.strokeStyle = colour('overlay');
    this.lines.stroke(path);
  }

  outline(points) {
    const path = new Path2D();
    for (const [u, v] of points) path.lineTo(u * this.marks.width, v * this.marks.height);
    path.closePath();
    this.stroke(path, [16, 10]);
  }

  cross(x, y) {
    this.stroke(new Path2D(`M${x - 22} ${y}h14M${x + 8} ${y}h14M${x} ${y - 22}v14M${x} ${y + 8}v14`));
  }

  ring(x, y) {
    const path = new Path2D();
    path.arc(x, y, 30, 0, 2 * Math.PI);
    this.stroke(path);
  }
}
