// SPDX-License-Identifier: Apache-2.0
// The console's page: one state, drawn when a view comes; one way to ask, used by buttons and keys alike.

import { Connection } from './connection.js';
import { Keys, keyOf } from './keys.js';
import { at, banner, showRecorder, showRig, showTask, showTree } from './panels.js';
import { Picture } from './picture.js';

const DRIVING = ['handover', 'correcting'];

// The address is in the browser's history and may be read over a shoulder: the cookie serves from here on.
if (location.search) history.replaceState(null, '', location.pathname);

let me = '';
let task = null;
let view = null;
let tree = null;
let offline = 'offline';

const picture = new Picture(at('picture'));
const keys = new Keys(at('keys'), (held) => connection.hold(held));
const connection = new Connection({
  hello(message) {
    me = message.page;
    task = message.task;
    showTask(message);
    keys.setTask(task.keys);
    picture.setTask(task);
    showDrivingKeys(task.keys);
  },
  async view(next, image) {
    view = next;
    if (next.tree) tree = next.tree;
    if (image) await picture.show(image, next.stamp);
    draw();
  },
  up() {
    offline = '';
    tell('');
  },
  down(reason) {
    offline = reason === 'refused' ? 'refused' : 'offline';
    view = null;
    draw();
  },
});

const phaseNow = () => {
  if (offline || !view) return offline || 'offline';
  return view.mux ? view.mux.phase : 'unknown';
};
const mine = () => Boolean(view) && view.holder === me;
const driving = () => mine() && DRIVING.includes(phaseNow());

// -- drawing ------------------------------------------------------------------------------------

function draw() {
  const phase = phaseNow();
  document.body.dataset.phase = phase === 'refused' ? 'offline' : phase;
  document.body.dataset.mine = String(mine());
  const [who, what] = banner(phase, mine(), view?.mux?.operator);
  write('who', who);
  write('why', view ? why() || what : what);
  const icon = ['refused', 'unknown'].includes(phase) ? 'offline' : phase;
  at('banner-icon').setAttribute('href', `#icon-${icon}`);
  keys.setDriving(driving());
  write('drive-hint', driving() ? 'Press and hold.' : 'Take over to drive.');
  drawPause(phase);
  drawButtons(phase);
  document.title = `${who} · ${task?.name ?? 'Hi-WM console'}`;
  if (!view) {
    showRecorder(null, true);
    return;
  }
  showRig(view.rig, task);
  showRecorder(view.recorder);
  picture.drawMarks(view.marks);
  if (tree && view.rig) showTree(tree, view.rig, goTo);
  const label = tree?.branches.find((branch) => branch.name === view.rig?.branch)?.label;
  for (const button of document.querySelectorAll('button[data-label]')) {
    button.setAttribute('aria-pressed', String(button.dataset.label === label));
  }
}

function write(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

// The most pressing reason first.
function why() {
  const { rig, mux, holder } = view;
  if (rig?.message) return rig.message;
  if (!rig) return 'The rig is not running.';
  if (rig?.silent_seconds) return `The rig has said nothing for ${rig.silent_seconds} s.`;
  if (holder && holder !== me) return 'This page watches until they let go.';
  // While somebody drives, only what is not as it should be.
  const driven = ['autonomous', ...DRIVING].includes(mux?.phase);
  if (!mux?.reason || (driven && !mux.holding) || mux.reason.includes(`'${me}'`)) return '';
  return sentence(mux.reason.replace(/'page-[0-9a-f]+'/, 'another page'));
}

function sentence(text) {
  if (!text) return '';
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;
}

function drawPause(phase) {
  const words = { paused: 'Resume', locked: 'Unlock' };
  write('pause-text', words[phase] ?? 'Pause');
  at('pause').dataset.ask = pauseAsk(phase);
}

const pauseAsk = (phase) => ({ paused: 'resume', locked: 'unlock' })[phase] ?? 'pause';

// Why an ask makes no sense now; empty if it may be asked. The button stays focusable and says so.
function obstacle(name, phase = phaseNow()) {
  if (offline || !view) return 'The page is not connected.';
  if (name === 'stop') return '';
  if (view.holder && !mine()) return 'Another operator is in control; this page watches.';
  if (phase === 'locked' && name !== 'unlock' && name !== 'label') return 'It is stopped; unlock it first.';
  if (name === 'take_over' && driving()) return 'You drive already.';
  if (name === 'release' && !driving()) return 'There is nothing to release: you do not drive.';
  if (name === 'step' && phase !== 'paused') return 'Pause first; then it can be stepped.';
  if (['rollback', 'go_to'].includes(name) && view.rig?.can_rollback === false) {
    return 'This rig cannot be rolled back.';
  }
  if (name === 'branch' && view.rig?.can_branch === false) return 'This rig cannot branch.';
  return '';
}

function drawButtons(phase) {
  for (const button of document.querySelectorAll('[data-ask]')) {
    const blocked = String(Boolean(obstacle(button.dataset.ask, phase)));
    if (button.getAttribute('aria-disabled') !== blocked) button.setAttribute('aria-disabled', blocked);
  }
}

function tell(text, bad = false) {
  write('said', bad ? '' : sentence(text));
  write('alarm', bad ? sentence(text) : '');
}

function showDrivingKeys(moves) {
  at('help-keys').replaceChildren(
    ...Object.entries(moves).map(([key, speeds]) => {
      const row = document.createElement('tr');
      const head = document.createElement('th');
      head.scope = 'row';
      const cap = document.createElement('kbd');
      cap.textContent = key.toUpperCase();
      head.append(cap);
      const cell = document.createElement('td');
      const words = Object.entries(speeds).map(([name, speed]) => `${name} ${speed > 0 ? '+' : '−'}`);
      cell.textContent = `drive ${words.join(', ')}`;
      row.append(head, cell);
      return row;
    }),
  );
}

// -- asking -------------------------------------------------------------------------------------

async function ask(name, fields = {}) {
  const reason = obstacle(name);
  if (reason) {
    tell(reason, true);
    return false;
  }
  // Whoever takes over begins with a fresh press: a key still down from before counts for nothing.
  if (name === 'take_over') keys.releaseAll();
  const reply = await connection.ask(name, fields);
  tell(reply.text, !reply.ok);
  return reply.ok;
}

function goTo(node, name, event) {
  ask('go_to', { node });
  backToPicture(event);
}

const forms = {
  rollback: () => ({ steps: at('rollback-steps').valueAsNumber }),
  branch: () => ({ called: at('branch-name').value }),
  checkpoint: () => ({ called: at('checkpoint-name').value }),
  reset: () => {
    const seed = at('reset-seed').valueAsNumber;
    return { seed: Number.isNaN(seed) ? -1 : seed };
  },
};

async function askForm(name) {
  const form = at(`${name}-form`);
  if (!form.reportValidity()) return;
  const done = await ask(name, forms[name]());
  // A name is used up; a number of steps serves again.
  if (done && name !== 'rollback') form.reset();
}

for (const name of Object.keys(forms)) {
  at(`${name}-form`).addEventListener('submit', (event) => {
    event.preventDefault();
    askForm(name);
    if (event.submitter?.matches(':not(:focus-visible)')) at('frame').focus({ preventScroll: true });
  });
}

for (const button of document.querySelectorAll('button[data-ask]:not([type=submit]), #pause')) {
  button.addEventListener('click', async (event) => {
    const name = button.dataset.ask;
    if (name === 'label') {
      // Pressed again, a label is taken back.
      const label = button.getAttribute('aria-pressed') === 'true' ? 'none' : button.dataset.label;
      const done = await ask(name, { label, note: at('note').value });
      if (done) at('note').value = '';
    } else {
      ask(name);
    }
    backToPicture(event);
  });
}

// After a click the focus goes back to the picture, so that the space bar pauses and does not click again;
// whoever walks by Tab keeps the place.
function backToPicture(event) {
  if (event.detail > 0) at('frame').focus({ preventScroll: true });
}

// -- keyboard -----------------------------------------------------------------------------------

const SHORTCUTS = {
  ' ': () => ask(pauseAsk(phaseNow())),
  t: () => ask('take_over'),
  r: () => ask('release'),
  b: () => askForm('branch'),
  backspace: () => askForm('rollback'),
  '?': () => openHelp(),
};

const isField = (element) => element.matches('input:not([type=checkbox]), textarea, select');

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (at('help').open) return;
  if (isField(event.target)) {
    if (event.key === 'Escape') at('frame').focus({ preventScroll: true });
    return;
  }
  const key = keyOf(event);
  if (keys.has(key)) {
    event.preventDefault();
    if (!event.repeat) keys.press(key, 'keyboard');
    return;
  }
  const pressed = event.key.toLowerCase();
  const shortcut = SHORTCUTS[pressed] ?? SHORTCUTS[key];
  if (!shortcut || event.repeat || !at('shortcuts').checked) return;
  if (pressed === ' ' && event.target.matches('button, input, summary')) return;
  event.preventDefault();
  shortcut();
});

document.addEventListener('keyup', (event) => keys.release(keyOf(event), 'keyboard'));

function openHelp() {
  keys.releaseAll();
  at('help').showModal();
}

at('help-open').addEventListener('click', openHelp);

// -- what this browser remembers ----------------------------------------------------------------

function remember(id, apply) {
  const box = at(id);
  const stored = localStorage.getItem(id);
  if (stored !== null) box.checked = stored === 'true';
  const use = () => {
    localStorage.setItem(id, String(box.checked));
    apply?.(box.checked);
  };
  box.addEventListener('change', use);
  use();
}

remember('shortcuts');
remember('show-marks', (on) => {
  picture.showMarks = on;
  if (view) picture.drawMarks(view.marks);
});

draw();
