// SPDX-License-Identifier: Apache-2.0
// What the page says in words: who drives, the task, the rig, the recorder, what a person's time yields.

export const at = (id) => document.getElementById(id);

// Texts are written only when they change, so that a screen reader and the layout are left in peace.
export function write(id, text) {
  const element = at(id);
  if (element.textContent !== text) element.textContent = text;
}

export function sentence(text) {
  if (!text) return '';
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;
}

const DASH = '–';

function size(bytes) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let power = 0;
  let value = bytes;
  while (value >= 1000 && power < units.length - 1) {
    value /= 1000;
    power += 1;
  }
  return `${value < 10 && power ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return DASH;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return `${Math.floor(seconds / 60)} min ${String(Math.floor(seconds % 60)).padStart(2, '0')} s`;
}

const LITTLE_DISK = 2e9;

// A rig whose state has stayed away for longer than any step takes.
const SILENT_S = 2;

export const isSilent = (view) => (view?.rig?.silent_seconds ?? 0) >= SILENT_S;

// Phase -> [who drives, what to do]; `mine` tells this page's driving from another's.
export function banner(phase, mine, view) {
  const mux = view?.mux;
  if (isSilent(view)) return ['The rig is silent', 'This is its last picture.'];
  const other = mux?.operator ? 'Another operator' : 'An operator';
  switch (phase) {
    case 'autonomous':
      return ['The policy drives', 'Take over when it goes wrong.'];
    case 'paused':
      return ['Paused: nobody drives', 'The position is held.'];
    case 'handover':
      return mine
        ? ['You are taking over', 'The wheel is being aligned.']
        : [`${other} is taking over`, 'This page watches.'];
    case 'correcting':
      if (mine && mux?.waiting) return ['You drive: time stands still', 'It goes on when you move.'];
      return mine
        ? ['You drive', 'Hold the driving keys, or drag the picture.']
        : [`${other} drives`, 'This page watches.'];
    case 'locked':
      return ['Stopped', 'Nothing moves until you unlock.'];
    case 'refused':
      return ['Not connected', 'The console began anew: open the address that it printed.'];
    case 'offline':
      return ['Not connected', 'Trying again every second.'];
    default:
      return ['Nobody drives', 'The multiplexer is not running.'];
  }
}

// How long a start has been waited for.
export function showGuide(guide) {
  at('guide').hidden = !guide;
  if (!guide) return;
  const { seconds } = guide;
  write('guide-time', `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`);
}

export function showTask(hello) {
  const { task } = hello;
  write('task', task.name);
  at('task').title = task.description;
  write('session', hello.session);
  const name = task.progress_name;
  write('progress-name', name[0].toUpperCase() + name.slice(1));
}

export function showRig(rig, task) {
  if (!rig) {
    write('rig', 'not running');
    return;
  }
  write('session', rig.session);
  write('step', String(rig.step));
  write('epoch', String(rig.epoch));
  write('branch', rig.branch || DASH);
  const hertz = rig.hertz === null ? 'stands still' : `${rig.hertz.toFixed(1)} Hz`;
  write('rate', rig.mode === 'running' ? hertz : 'stands still');
  write('tick', rig.tick_time === null ? DASH : `${(rig.tick_time * 1000).toFixed(1)} ms`);
  write('missed', String(rig.missed_deadlines));
  const pace = rig.pace === 'lockstep' ? ', lockstep' : '';
  const silent = rig.silent_seconds ? ', silent' : '';
  write('rig', `${rig.rig.replaceAll('_', ' ')}${pace}${silent}`);
  for (const name of ['progress', 'success', 'fidelity']) {
    const value = rig[name];
    const known = value !== null && value !== undefined;
    const reached = name === 'progress' && known && value >= task.success_above;
    write(`${name}-text`, known ? `${Math.round(value * 100)} %${reached ? ' ✓' : ''}` : 'unknown');
  }
  for (const button of document.querySelectorAll('[data-speed]')) {
    button.setAttribute('aria-checked', String(Number(button.dataset.speed) === rig.speed));
  }
}

export function showLatency(figures) {
  write('latency', figures ? `${Math.round(figures.p50)} ms` : DASH);
  write('latency-p95', figures ? `${Math.round(figures.p95)} ms` : DASH);
  const cell = at('latency');
  cell.dataset.p50 = figures ? figures.p50.toFixed(1) : '';
  cell.dataset.count = figures ? figures.count : 0;
}

export function showRecorder(recorder, offline = false) {
  const chip = at('recording');
  let state = 'off';
  let text = 'Not recording';
  let detail = 'No recorder is running.';
  if (offline) [state, text, detail] = ['unknown', 'Not connected', ''];
  if (recorder) {
    const left = `${size(recorder.free_bytes)} left`;
    detail = recorder.uri;
    if (recorder.message) {
      state = 'fault';
      text = 'Recording failed';
      detail = recorder.message;
    } else if (recorder.recording) {
      state = recorder.free_bytes < LITTLE_DISK ? 'low' : 'on';
      text = state === 'low' ? `Recording, only ${left}` : 'Recording';
    } else if (recorder.uri) {
      text = 'Waiting for frames';
    }
  }
  chip.dataset.state = state;
  write('recording-text', text);
  chip.title = detail;
  write('written', recorder ? size(recorder.written_bytes) : DASH);
  write('disk', recorder ? size(recorder.free_bytes) : DASH);
}

const number = (value, digits = 1) =>
  value === null || value === undefined ? DASH : value.toFixed(digits);

export function showEconomics(sums, human) {
  write('human-time', duration(human ?? sums?.human_time));
  write('cost', sums?.cost ? `${number(sums.cost)} s` : DASH);
  write('corrections', sums ? String(sums.corrections) : DASH);
  write('corrections-per-hour', number(sums?.corrections_per_hour, 0));
  write('branches-per-failure', number(sums?.branches_per_failure));
}

// One row for each session that kept its sums.
export async function showSessions() {
  let table = [];
  try {
    const response = await fetch('sessions');
    if (response.ok) table = await response.json();
  } catch {
    // No connection: the page says so already.
  }
  at('sessions-rows').replaceChildren(
    ...table.map((sums) => {
      const row = document.createElement('tr');
      const head = document.createElement('th');
      head.scope = 'row';
      head.textContent = sums.session;
      row.append(head);
      const cells = [
        sums.task,
        number((sums.session_time ?? 0) / 60),
        duration(sums.human_time),
        duration(sums.accepted_time),
        number(sums.cost),
        String(sums.corrections),
        number(sums.corrections_per_hour, 0),
        number(sums.branches_per_failure),
      ];
      for (const text of cells) {
        const cell = document.createElement('td');
        cell.textContent = text;
        row.append(cell);
      }
      return row;
    }),
  );
  at('sessions-empty').hidden = table.length > 0;
}

export function showDrivingKeys(moves) {
  // A key of the task drives: where it would do something else, it is not offered.
  const drives = (kbd) => (kbd.textContent === 'Space' ? ' ' : kbd.textContent.toLowerCase()) in moves;
  for (const kbd of document.querySelectorAll('kbd')) kbd.hidden = drives(kbd);
  for (const row of document.querySelectorAll('#help tr')) {
    row.hidden = row.querySelector('kbd') !== null && row.querySelector('kbd:not([hidden])') === null;
  }
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

// Hard starts: pressed, one begins a run from it.
export function showStarts(starts, onStart, onForget) {
  const list = at('starts');
  const key = JSON.stringify(starts);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(
    ...starts.map(({ seed, note }) => {
      const item = document.createElement('li');
      const go = document.createElement('button');
      go.type = 'button';
      go.className = 'start';
      go.title = `New run from start ${seed}`;
      go.append(String(seed));
      const small = document.createElement('small');
      small.textContent = note;
      go.append(small);
      go.addEventListener('click', (event) => onStart(seed, event));
      const drop = document.createElement('button');
      drop.type = 'button';
      drop.className = 'tool';
      drop.textContent = '×';
      drop.setAttribute('aria-label', `Forget start ${seed}`);
      drop.addEventListener('click', (event) => onForget(seed, event));
      item.append(go, drop);
      return item;
    }),
  );
  at('starts-empty').hidden = starts.length > 0;
}
