// SPDX-License-Identifier: Apache-2.0
// Pictures of old nodes: fetched when they are to be seen, the newest wish first, a bounded number kept.

const AT_ONCE = 24; // requests under way; the server gathers them into batches
const RETRY_MS = 2000; // after which a picture that could not be had is asked for again

export class Frames {
  // `address(node)` gives the picture's address, or '' where there is none; `changed()` is called when one came.
  constructor(address, limit, changed) {
    this.address = address;
    this.limit = limit;
    this.changed = changed;
    this.kept = new Map(); // node -> ImageBitmap, in order of use
    this.failed = new Set(); // nodes whose picture could not be had just now
    this.wishes = [];
    this.underWay = new Set();
    this.fetched = 0;
  }

  clear() {
    for (const bitmap of this.kept.values()) bitmap.close();
    this.kept.clear();
    this.failed.clear();
    this.wishes = [];
  }

  // The picture of a node if it is here; else it is wished for.
  get(node) {
    if (this.kept.has(node)) {
      const bitmap = this.kept.get(node);
      this.kept.delete(node);
      this.kept.set(node, bitmap);
      return bitmap;
    }
    if (node && !this.underWay.has(node) && !this.failed.has(node)) this.wishes.push(node);
    return null;
  }

  // Call before a drawing, so that only what is in sight now is wished for; and `fetch` after it.
  forgetWishes() {
    this.wishes = [];
  }

  fetch() {
    while (this.wishes.length && this.underWay.size < AT_ONCE) this.load(this.wishes.pop());
  }

  async load(node) {
    const address = this.address(node);
    if (!address || this.underWay.has(node)) return;
    this.underWay.add(node);
    let bitmap = null;
    try {
      const response = await fetch(address);
      if (response.ok) bitmap = await createImageBitmap(await response.blob());
      this.fetched += 1;
    } catch {
      // The connection is gone.
    }
    this.underWay.delete(node);
    if (address !== this.address(node)) {
      bitmap?.close(); // another tree has begun meanwhile
    } else if (bitmap) {
      this.keep(node, bitmap);
    } else {
      // A rig or a console that is away for a moment says nothing of the picture.
      this.failed.add(node);
      setTimeout(() => {
        if (this.failed.delete(node)) this.changed();
      }, RETRY_MS);
    }
    this.changed();
  }

  keep(node, bitmap) {
    this.kept.set(node, bitmap);
    while (this.kept.size > this.limit) {
      const [oldest] = this.kept.keys();
      this.kept.get(oldest).close();
      this.kept.delete(oldest);
    }
  }
}
