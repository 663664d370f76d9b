// SPDX-License-Identifier: Apache-2.0
// Looking back: which node of the tree is looked at, alone or beside the same step of another branch.

export class Past {
  // `on` has changed().
  constructor({ tree, frames, picture, timeline, on }) {
    Object.assign(this, { tree, frames, picture, timeline, on });
    this.node = 0;
    this.lane = null; // along whose path it is looked
    this.compared = null; // a lane's number, or null
  }

  get looking() {
    return this.node > 0;
  }

  look(node, lane = this.tree.laneOf(node)) {
    if (!this.tree.has(node)) return;
    this.node = node;
    this.lane = lane;
    this.timeline.select(node, lane);
    this.show();
    this.on.changed();
  }

  // Back to the live picture.
  leave() {
    this.node = 0;
    this.lane = this.compared = null;
    this.timeline.compare(null);
    this.timeline.select(0);
    this.show();
    this.on.changed();
  }

  // Step along the path of the branch.
  step(by, head) {
    const node = this.node || head;
    const lane = this.lane ?? this.tree.laneOf(node);
    if (lane) this.look(this.tree.nearest(lane, this.tree.steps[node] + by), lane);
  }

  // To the branch above or below, at the same step if it gets so far.
  change(by, head) {
    const node = this.node || head;
    const lane = this.lane ?? this.tree.laneOf(node);
    const other = lane && this.tree.lanes[lane.number + by];
    if (other) this.look(this.tree.nearest(other, this.tree.steps[node]), other);
  }

  edge(side, head) {
    const lane = this.lane ?? this.tree.laneOf(this.node || head);
    if (lane) this.look(this.tree.nearest(lane, side < 0 ? 0 : this.tree.lastStep(lane)), lane);
  }

  // Pin the branch that is looked at; the next one is shown beside it, step by step.
  compare(head) {
    if (this.compared !== null) {
      this.compared = null;
    } else {
      const lane = this.lane ?? this.tree.laneOf(this.node || head);
      if (!lane) return false;
      this.compared = lane.number;
      if (!this.node) this.look(head);
    }
    this.timeline.compare(this.compared);
    this.show();
    this.on.changed();
    return true;
  }

  show() {
    if (this.node && !this.tree.has(this.node)) this.node = 0;
    if (!this.node) {
      this.picture.showPast([]);
      return;
    }
    const { lane } = this;
    const step = this.tree.steps[this.node];
    const shown = [];
    const pinned = this.compared === null ? null : this.tree.lanes[this.compared];
    if (pinned) {
      const node = this.tree.nearest(pinned, step);
      const end = this.tree.steps[node] < step ? ', its end' : '';
      shown.push(this.entry(node, `A  ${pinned.name} · step ${this.tree.steps[node]}${end}`));
      shown.push(this.entry(this.node, `B  ${lane.name} · step ${step}`));
    } else {
      shown.push(this.entry(this.node, `${lane.name} · step ${step}`));
    }
    this.frames.forgetWishes();
    for (const entry of shown) entry.bitmap = this.frames.get(entry.node);
    this.frames.fetch();
    this.picture.showPast(shown);
  }

  entry(node, caption) {
    return { node, caption, bitmap: null };
  }
}
