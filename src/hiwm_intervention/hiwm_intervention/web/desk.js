// SPDX-License-Identifier: Apache-2.0
// What this page knows of the session and may ask of it; no drawing here.

const DRIVING = ['handover', 'correcting'];
// Going on takes the same key as stopping. A person who means to stop presses it, perhaps twice, before having seen
// that a trigger, a fault or somebody else has stopped it just now.
const SURPRISE_MS = 700;

export class Desk {
  constructor() {
    this.me = '';
    this.task = null;
    this.view = null;
    this.offline = 'offline'; // '', 'offline' or 'refused'
    this.looking = false; // at a node of the past
    this.seed = null; // of the start of this run
    this.before = ''; // the phase of the last view
    this.changed = 0; // when the phase came up
  }

  // A view has come, or the connection went.
  see(view, now = performance.now()) {
    this.view = view;
    if (this.phase === this.before) return;
    this.before = this.phase;
    this.changed = now;
  }

  get phase() {
    if (this.offline || !this.view) return this.offline || 'offline';
    return this.view.mux ? this.view.mux.phase : 'unknown';
  }

  get mine() {
    return Boolean(this.view) && this.view.holder === this.me;
  }

  get driving() {
    return this.mine && DRIVING.includes(this.phase);
  }

  // A start that a person is to set up; null: none.
  get guide() {
    return this.view?.guide ?? null;
  }

  // What the button and the key for pausing ask now.
  get pauseAsk() {
    return { paused: 'resume', locked: 'unlock' }[this.phase] ?? 'pause';
  }

  // Whether it stands so shortly that a press cannot be an answer to that.
  get surprises() {
    return performance.now() - this.changed < SURPRISE_MS;
  }

  // Why an ask makes no sense now; empty if it may be asked. The button stays focusable and says so.
  obstacle(name) {
    const { phase, view, driving } = this;
    if (this.offline || !view) return 'The page is not connected.';
    if (['stop', 'checkpoint', 'forget_start'].includes(name)) return '';
    if (name === 'remember_start') {
      return this.seed === null ? 'This run did not begin from a start of the task.' : '';
    }
    if (name === 'ask_wheel') return view.holder && !this.mine ? '' : 'Nobody else drives: just take over.';
    if (view.holder && !this.mine) return 'Another operator is in control; this page watches.';
    if (phase === 'locked' && !['unlock', 'label'].includes(name)) return 'It is stopped; unlock it first.';
    if (name === 'take_over' && driving) return 'You drive already.';
    if (name === 'ready' && this.guide?.placing) return 'The rig begins anew already.';
    if (name === 'release' && !driving) return 'There is nothing to release: you do not drive.';
    if (name === 'step' && phase !== 'paused') return 'Pause first; then it can be stepped.';
    if (name === 'go_to' && !this.looking) return 'Look at a step in the timeline first.';
    if (name === 'resample' && driving) return 'You drive; release first.';
    if (name === 'speed' && !view.rig?.can_set_pace) return 'This rig keeps its own time.';
    if (['rollback', 'go_to'].includes(name) && view.rig?.can_rollback === false) {
      return 'This rig cannot be rolled back.';
    }
    if (['branch', 'resample'].includes(name) && view.rig?.can_branch === false) return 'This rig cannot branch.';
    return '';
  }

  // The most pressing reason why things are as they are; empty if there is nothing to say.
  why() {
    const { rig, mux, holder, incident } = this.view;
    if (rig?.message) return rig.message;
    if (!rig) return 'The rig is not running.';
    if (rig.silent_seconds) return `The rig has said nothing for ${rig.silent_seconds} s.`;
    if (incident) return incident;
    if (this.driving && mux.asked_by) return `${plain(mux.asked_by)} asks for the wheel: T releases it.`;
    if (holder && !this.mine) {
      return mux?.asked_by === this.me ? 'You asked for the wheel.' : 'This page watches until they let go.';
    }
    // While somebody drives, only what is not as it should be.
    const driven = ['autonomous', ...DRIVING].includes(mux?.phase);
    if (!mux?.reason || mux.waiting || (driven && !mux.holding)) return '';
    if (mux.reason.includes(`'${this.me}'`)) return '';
    return mux.reason.replace(/'(page|iws)-[0-9a-f]+'/, 'another page');
  }
}

const plain = (operator) => (/^(page|iws)-/.test(operator) ? 'Another page' : operator);
