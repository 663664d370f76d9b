// SPDX-License-Identifier: Apache-2.0
// From a person's hand to the changed picture: measured by this page's clock at both ends.

const WINDOW_MS = 60_000;
const MOST_FRAMES = 240;

export class Latency {
  constructor() {
    this.frames = []; // [stamp, when it was on the screen], oldest first
    this.waiting = []; // [stamp, times of inputs] whose frame is not on the screen yet
    this.samples = []; // [when, latency]
    this.drawn = null; // stamp of the newest frame that waits for the screen
  }

  // A frame was drawn; it is shown with the screen's next refresh. A page that nobody sees has none, so no more
  // than one frame waits.
  draws(stamp) {
    if (this.drawn === null) {
      requestAnimationFrame(() => {
        this.shown(this.drawn);
        this.drawn = null;
      });
    }
    this.drawn = stamp;
  }

  // A frame is on the screen.
  shown(stamp, now = performance.now()) {
    this.frames.push([Number(stamp), now]);
    if (this.frames.length > MOST_FRAMES) this.frames.shift();
    this.settle();
  }

  // The frame of that stamp is the first to answer these inputs. A page that skipped it saw the next one.
  answered(entries) {
    for (const [stamp, times] of entries) this.waiting.push([Number(stamp), times]);
    this.settle();
  }

  settle() {
    this.waiting = this.waiting.filter(([stamp, times]) => {
      const frame = this.frames.find(([shown]) => shown >= stamp);
      if (!frame) return true;
      for (const at of times) this.samples.push([frame[1], Math.max(frame[1] - at, 0)]);
      return false;
    });
  }

  clear() {
    this.frames = [];
    this.waiting = [];
  }

  // {p50, p95, count} over the last minute, in ms; null without an answered input.
  figures(now = performance.now()) {
    this.samples = this.samples.filter(([when]) => now - when <= WINDOW_MS);
    if (!this.samples.length) return null;
    const sorted = this.samples.map(([, latency]) => latency).sort((a, b) => a - b);
    const share = (part) => sorted[Math.min(Math.floor(part * sorted.length), sorted.length - 1)];
    return { p50: share(0.5), p95: share(0.95), count: sorted.length };
  }
}
