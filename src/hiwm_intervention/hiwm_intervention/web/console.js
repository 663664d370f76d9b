// SPDX-License-Identifier: Apache-2.0
// The console's page: one state, drawn when a view comes; one way to ask, used by buttons and keys alike.
import { Chart } from './chart.js';
import { Connection } from './connection.js';
import { Desk } from './desk.js';
import { backToPicture, toPicture } from './focus.js';
import { Frames } from './frames.js';
import { Input } from './input.js';
import { Lanes } from './lanes.js';
import { Latency } from './latency.js';
import {
  at,
  banner,
  isSilent,
  sentence,
  showDrivingKeys,
  showEconomics,
  showGuide,
  showLatency,
  showRecorder,
  showRig,
  showSessions,
  showStarts,
  showTask,
  write,
} from './panels.js';
import { Past } from './past.js';
import { Picture } from './picture.js';
import { remember } from './preferences.js';
import { listen } from './shortcuts.js';
import { onTheme, startTheme } from './theme.js';
import { Timeline } from './timeline.js';
import { Tree } from './tree.js';

const THUMBNAIL = 64; // px
const MOST_THUMBNAILS = 400;
const MOST_FRAMES = 24;

// The address is in the browser's history and may be read over a shoulder: the cookie serves from here on.
if (location.search) history.replaceState(null, '', location.pathname);

const desk = new Desk();
let guided = null; // the start that was being set up when the page was drawn
let lost = null; // what was known when the connection went

const tree = new Tree();
const picture = new Picture(at('picture'));
const chart = new Chart(at('chart'));
const latency = new Latency();
const address = (node, width) => (tree.key ? `frame/${tree.key}/${node}?width=${width}` : '');
const thumbnails = new Frames((node) => address(node, THUMBNAIL), MOST_THUMBNAILS, () => timeline.touch());
const frames = new Frames((node) => address(node, 0), MOST_FRAMES, () => past.show());
const timeline = new Timeline({
  scroller: at('scroller'),
  canvas: at('timeline'),
  spacer: at('spacer'),
  tree,
  frames: thumbnails,
  on: {
    preview: (node, lane) => look(node, lane),
    goTo: () => goThere(),
    lanes: () => {
      lanes.show(desk.view?.rig?.branch ?? '', past.compared);
      showLive();
    },
  },
});
const past = new Past({ tree, frames, picture, timeline, on: { changed: () => draw() } });
const lanes = new Lanes(at('branches'), timeline, (lane, event) => {
  const end = lane.nodes.at(-1) ?? lane.fork;
  if (past.node === end) goThere();
  else look(end, lane);
  backToPicture(event);
});
const input = new Input({
  keys: at('keys'),
  picture: at('picture'),
  send: (held) => connection.hold(held),
  takeOver: () => ask(desk.driving ? 'release' : 'take_over'),
  gamepadName: (name, strange) => {
    at('keys').dataset.gamepad = name;
    if (strange) tell(`${strange} is not a gamepad of the standard layout and cannot drive.`, true);
  },
});
const connection = new Connection({
  hello(message) {
    const { task } = message;
    desk.me = message.page;
    desk.task = task;
    showTask(message);
    input.setTask(task);
    picture.setTask(task);
    chart.setTask(task);
    thumbnails.ratio = task.width / task.height;
    showDrivingKeys(task.keys);
  },
  async view(next, image) {
    desk.see(next);
    if (next.tree) takeTree(next.tree);
    if (next.answered) latency.answered(next.answered);
    if (image) {
      await picture.show(image, next.stamp);
      latency.draws(next.stamp);
    }
    draw();
  },
  up() {
    desk.offline = '';
    latency.clear();
    tell('');
  },
  down(reason) {
    const { rig } = desk.view ?? {};
    desk.offline = reason === 'refused' ? 'refused' : 'offline';
    if (rig) lost ??= { session: rig.session, steps: tree.count, branches: tree.lanes.length };
    desk.see(null);
    draw();
  },
});

// -- the tree -----------------------------------------------------------------------------------

function takeTree(told) {
  const { key } = tree;
  tree.take(told);
  if (tree.key !== key) {
    thumbnails.clear();
    frames.clear();
    lanes.clear();
  }
  // Told anew, its branches are other objects, and a node may not be there yet.
  if (told.fresh) past.leave();
  timeline.grown();
  past.show();
  if (lost && tree.complete && desk.view.rig) sayWhatWasMissed();
}

// After a loss: what went on meanwhile.
function sayWhatWasMissed() {
  const { session, steps, branches } = lost;
  lost = null;
  if (desk.view.rig.session !== session || tree.count < steps) {
    tell('Back again: the rig has begun anew.');
    return;
  }
  const count = (value, one, many) => `${value} ${value === 1 ? one : many}`;
  const newSteps = count(tree.count - steps, 'step', 'steps');
  tell(`Back again: missed ${newSteps} and ${count(tree.lanes.length - branches, 'branch', 'branches')}.`);
}

function look(node, lane) {
  if (desk.driving) {
    tell('You drive: the live picture stays. Release first.', true);
    return;
  }
  past.look(node, lane);
}

async function goThere() {
  if (!past.looking) return;
  const done = await ask('go_to', { node: past.node });
  if (done) past.leave();
}

function compare() {
  if (desk.driving) tell('You drive: the live picture stays. Release first.', true);
  else if (past.compare(timeline.head) && past.compared !== null) {
    tell('Branch A is kept; look at another one to see it beside.');
  }
}

// -- drawing ------------------------------------------------------------------------------------

function draw() {
  const { phase, view, driving } = desk;
  document.body.dataset.phase = phase === 'refused' ? 'offline' : phase;
  document.body.dataset.mine = String(desk.mine);
  if (driving && past.looking) past.leave();
  desk.looking = past.looking;
  desk.seed = tree.laneNamed(view?.rig?.branch ?? '')?.seed ?? null;
  const guide = desk.guide;
  const begins = guide && guide.seed !== guided;
  guided = guide?.seed ?? null;
  if (begins) {
    tell(guide.sentence);
    // What is to be set up is on the live picture.
    if (past.looking) past.leave();
  }
  const [who, what] = guide ? [`Set up start ${guide.seed}`, guide.what] : banner(phase, desk.mine, view);
  write('who', who);
  document.body.dataset.silent = String(isSilent(view));
  const why = guide ? view.rig?.message : view && desk.why();
  write('why', sentence(why) || what);
  at('why').title = at('why').textContent;
  showGuide(guide);
  picture.guide = guide?.bodies ?? [];
  at('why').classList.toggle('asked', Boolean(driving && view.mux.asked_by));
  const icon = ['refused', 'unknown'].includes(phase) ? 'offline' : phase;
  at('banner-icon').setAttribute('href', `#icon-${icon}`);
  at('wheel').hidden = !view?.holder || desk.mine || Boolean(guide);
  input.setDriving(driving);
  write('drive-hint', hint());
  write('pause-text', { paused: 'Resume', locked: 'Unlock' }[phase] ?? 'Pause');
  at('pause').dataset.ask = desk.pauseAsk;
  drawButtons();
  document.title = `${who} · ${desk.task?.name ?? 'Hi-WM console'}`;
  if (!view) {
    showRecorder(null, true);
    return;
  }
  showRig(view.rig, desk.task);
  showRecorder(view.recorder);
  showEconomics(view.economics, view.mux?.human_time);
  showStarts(view.starts, startFrom, (seed) => ask('forget_start', { seed }));
  picture.drawMarks(view.marks);
  if (view.rig) {
    chart.take(view.rig);
    timeline.setHead(view.rig.node, view.rig.branch);
    drawTree(view.rig);
  }
}

function hint() {
  if (!desk.driving) return 'Take over to drive.';
  if (at('keys').dataset.gamepad) return 'Press and hold, drag the picture, or hold A on the gamepad.';
  return desk.task.can_drag ? 'Press and hold, or drag the picture.' : 'Press and hold.';
}

function drawTree(rig) {
  const branches = tree.lanes.length;
  const count = (value, one, many) => `${value.toLocaleString('en')} ${value === 1 ? one : many}`;
  write('tree-count', `${count(branches, 'branch', 'branches')}, ${count(tree.count, 'node', 'nodes')}`);
  const place = past.node || timeline.head;
  const lane = past.lane ?? tree.laneNamed(rig.branch);
  const scroller = at('scroller');
  scroller.setAttribute('aria-valuemax', String(lane ? tree.lastStep(lane) : 0));
  scroller.setAttribute('aria-valuenow', String(tree.has(place) ? tree.steps[place] : 0));
  scroller.setAttribute('aria-valuetext', `${past.looking ? 'looking at' : 'live at'} ${tree.describe(place)}`);
  for (const button of document.querySelectorAll('button[data-label]')) {
    button.setAttribute('aria-pressed', String(button.dataset.label === lane?.label));
  }
  at('compare').setAttribute('aria-pressed', String(past.compared !== null));
  showLive();
  write('remember-seed', desk.seed === null ? '' : String(desk.seed));
  at('remember').title = desk.seed === null ? 'Remember this start' : `Remember this start, ${desk.seed}`;
}

function showLive() {
  at('live').setAttribute('aria-disabled', String(!past.looking && timeline.following));
}

function drawButtons() {
  for (const button of document.querySelectorAll('[data-ask], [data-speed]')) {
    const blocked = String(Boolean(desk.obstacle(button.dataset.ask ?? 'speed')));
    if (button.getAttribute('aria-disabled') !== blocked) button.setAttribute('aria-disabled', blocked);
  }
}

function tell(text, bad = false) {
  write('said', bad ? '' : sentence(text));
  write('alarm', bad ? sentence(text) : '');
}

// -- asking -------------------------------------------------------------------------------------

async function ask(name, fields = {}) {
  const reason = desk.obstacle(name);
  if (reason) {
    tell(reason, true);
    return false;
  }
  // Whoever takes over begins with a fresh press: a key still down from before counts for nothing.
  if (name === 'take_over') input.releaseAll();
  const reply = await connection.ask(name, fields);
  tell(reply.text, !reply.ok);
  return reply.ok;
}

const named = () => ({ called: at('name').value, node: past.node });
const lookedAt = () => past.lane?.name ?? '';

const does = {
  branch: async () => {
    if (!(await ask('branch', named()))) return;
    at('name').value = '';
    past.leave();
  },
  checkpoint: async () => {
    if (await ask('checkpoint', named())) at('name').value = '';
  },
  // Another chance for the policy, from where it stands: it drives on at once.
  resample: async () => {
    if (await ask('resample')) await ask('resume');
  },
  go_to: goThere,
  rollback: () => {
    if (at('rollback-form').reportValidity()) ask('rollback', { steps: at('rollback-steps').valueAsNumber });
  },
  reset: async () => {
    if (!at('reset-form').reportValidity()) return;
    const seed = at('reset-seed').valueAsNumber;
    if (await ask('reset', { seed: Number.isNaN(seed) ? -1 : seed })) at('reset-form').reset();
  },
  remember_start: async () => {
    const done = await ask('remember_start', { seed: desk.seed ?? 0, note: at('note').value.slice(0, 64) });
    if (done) at('note').value = '';
  },
  resume: () => goOn('resume'),
  unlock: () => goOn('unlock'),
};

async function label(button) {
  const lane = past.lane ?? tree.laneNamed(desk.view?.rig?.branch ?? '');
  const written = at('note').value.trim();
  // Pressed again, a label is taken back, unless there is something new to say of it.
  const again = button.getAttribute('aria-pressed') === 'true' && !written;
  const word = again ? 'none' : button.dataset.label;
  const note = written || lane?.note || '';
  const done = await ask('label', { label: word, note, branch: lookedAt() });
  if (done) at('note').value = '';
}

function goOn(name) {
  if (desk.surprises) tell('It has stopped only just now; press again to go on.', true);
  else ask(name);
}

function startFrom(seed, event) {
  ask('reset', { seed });
  backToPicture(event);
}

for (const name of ['rollback', 'reset']) {
  at(`${name}-form`).addEventListener('submit', (event) => {
    event.preventDefault();
    does[name]();
    if (event.submitter?.matches(':not(:focus-visible)')) toPicture();
  });
}

for (const button of document.querySelectorAll('button[data-ask]:not([type=submit]), #pause')) {
  button.addEventListener('click', (event) => {
    const name = button.dataset.ask;
    if (name === 'label') label(button);
    else if (does[name]) does[name]();
    else ask(name);
    backToPicture(event);
  });
}

for (const button of document.querySelectorAll('[data-speed]')) {
  button.addEventListener('click', (event) => {
    ask('speed', { speed: Number(button.dataset.speed) });
    backToPicture(event);
  });
}

for (const [id, act] of [
  ['compare', compare],
  ['live', () => past.leave()],
  ['zoom-in', () => timeline.zoom(1)],
  ['zoom-out', () => timeline.zoom(-1)],
]) {
  at(id).addEventListener('click', (event) => {
    act();
    backToPicture(event);
  });
}

// -- keyboard -----------------------------------------------------------------------------------

const wander = (act) => {
  if (desk.driving) tell('You drive: the live picture stays. Release first.', true);
  else act();
};

listen({
  keys: input.keys,
  stop: () => ask('stop'),
  enabled: () => at('shortcuts').checked,
  leave: toPicture,
  does: {
    ' ': () => (does[desk.pauseAsk] ?? ask)(desk.pauseAsk),
    t: () => ask(desk.driving ? 'release' : 'take_over'),
    r: does.resample,
    b: does.branch,
    m: does.checkpoint,
    c: compare,
    backspace: does.rollback,
    enter: () => (desk.guide && !past.looking ? ask('ready') : goThere()),
    escape: () => past.leave(),
    arrowleft: (event) => wander(() => past.step(event.shiftKey ? -10 : -1, timeline.head)),
    arrowright: (event) => wander(() => past.step(event.shiftKey ? 10 : 1, timeline.head)),
    arrowup: () => wander(() => past.change(1, timeline.head)),
    arrowdown: () => wander(() => past.change(-1, timeline.head)),
    home: () => wander(() => past.edge(-1, timeline.head)),
    end: () => wander(() => past.edge(1, timeline.head)),
    '+': () => timeline.zoom(1),
    '=': () => timeline.zoom(1),
    '-': () => timeline.zoom(-1),
    '?': () => open('help'),
  },
});

function open(id, event) {
  input.releaseAll();
  // The browser gives the focus back to what opened it.
  at(id).addEventListener('close', () => event && backToPicture(event), { once: true });
  at(id).showModal();
}

at('help-open').addEventListener('click', (event) => open('help', event));
at('sessions-open').addEventListener('click', async (event) => {
  await showSessions();
  open('sessions', event);
});

// -- what this browser remembers, and what goes on by itself ------------------------------------

remember('shortcuts');
remember('show-marks', (on) => {
  picture.showMarks = on;
  if (desk.view) picture.drawMarks(desk.view.marks);
});

onTheme(() => {
  timeline.touch();
  chart.draw();
});
startTheme(at('theme'));

setInterval(() => {
  showLatency(latency.figures());
  at('chart').setAttribute('aria-label', chart.describe());
}, 1000);

draw();
