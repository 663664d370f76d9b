// SPDX-License-Identifier: Apache-2.0
// What the page says in words and bars: who drives, the task, the rig, the recorder, branches, checkpoints.

export const at = (id) => document.getElementById(id);

// Texts are written only when they change, so that a screen reader and the layout are left in peace.
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
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

const LITTLE_DISK = 2e9;

// Phase -> [who drives, what to do]; `mine` tells this page's driving from another's.
export function banner(phase, mine, operator) {
  const other = operator ? 'Another operator' : 'An operator';
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
      return mine ? ['You drive', 'Hold the driving keys.'] : [`${other} drives`, 'This page watches.'];
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

function meter(id, value, goal) {
  const bar = at(id);
  const known = value !== null && value !== undefined;
  bar.classList.toggle('unknown', !known);
  bar.querySelector('.fill').style.transform = `scaleX(${known ? Math.min(Math.max(value, 0), 1) : 0})`;
  const text = known ? `${Math.round(value * 100)} %` : 'unknown';
  if (known) bar.setAttribute('aria-valuenow', value);
  else bar.removeAttribute('aria-valuenow');
  bar.setAttribute('aria-valuetext', text);
  const reached = goal !== undefined && known && value >= goal;
  bar.classList.toggle('reached', reached);
  say(at(`${id}-text`), reached ? `${text} ✓` : text);
}

export function showTask(hello) {
  const { task } = hello;
  say(at('task'), task.name);
  at('task').title = task.description;
  say(at('session'), hello.session);
  const name = task.progress_name;
  say(at('progress-name'), name[0].toUpperCase() + name.slice(1));
  at('progress').querySelector('.goal').style.left = `${task.success_above * 100}%`;
}

export function showRig(rig, task) {
  if (!rig) {
    say(at('rig'), 'not running');
    return;
  }
  say(at('session'), rig.session);
  say(at('step'), String(rig.step));
  say(at('epoch'), String(rig.epoch));
  say(at('branch'), rig.branch || DASH);
  const hertz = rig.hertz === null ? 'stands still' : `${rig.hertz.toFixed(1)} Hz`;
  say(at('rate'), rig.mode === 'running' ? hertz : 'stands still');
  say(at('missed'), String(rig.missed_deadlines));
  const pace = rig.pace === 'lockstep' ? ', lockstep' : '';
  const silent = rig.silent_seconds ? ', silent' : '';
  say(at('rig'), `${rig.rig.replaceAll('_', ' ')}${pace}${silent}`);
  meter('progress', rig.progress, task.success_above);
  meter('success', rig.success);
  meter('fidelity', rig.fidelity);
}

export function showRecorder(recorder, offline = false) {
  const chip = at('recording');
  let state = 'off';
  let text = 'Not recording';
  let detail = 'no recorder is running';
  if (offline) [state, text, detail] = ['unknown', 'Not connected', DASH];
  if (recorder) {
    const left = `${size(recorder.free_bytes)} left`;
    detail = `${size(recorder.written_bytes)} written, ${left}`;
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
  say(at('recording-text'), text);
  say(at('disk'), detail);
}

function steps(count) {
  return count === 1 ? '1 step' : `${count} steps`;
}

const LABELS = { success: '✓ success', failure: '✕ failure', discard: '– discard' };

// Rows are kept by name and changed in place: a list that is rebuilt under the finger cannot be clicked.
function showList(id, rows, onClick) {
  const list = at(id);
  const known = new Map([...list.children].map((item) => [item.dataset.name, item]));
  rows.forEach((row, index) => {
    let item = known.get(row.name);
    if (!item) {
      item = document.createElement('li');
      item.dataset.name = row.name;
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'entry';
      for (const part of ['name', 'badge', 'detail']) {
        const span = document.createElement('span');
        span.className = `entry-${part}`;
        button.append(span);
      }
      button.addEventListener('click', (event) => onClick(Number(item.dataset.node), row.name, event));
      item.append(button);
    }
    known.delete(row.name);
    item.dataset.node = row.node;
    const button = item.firstElementChild;
    button.title = row.title;
    say(button.children[0], row.name);
    say(button.children[1], row.badge);
    button.children[1].dataset.label = row.label ?? '';
    say(button.children[2], row.detail);
    if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
    if (row.current && !button.hasAttribute('aria-current')) {
      button.setAttribute('aria-current', 'true');
      // Only the list is scrolled, never the page.
      list.scrollTop = item.offsetTop - list.offsetTop - list.clientHeight / 2;
    } else if (!row.current) {
      button.removeAttribute('aria-current');
    }
  });
  for (const item of known.values()) item.remove();
  say(at(`${id === 'branches' ? 'branch' : 'checkpoint'}-count`), rows.length ? String(rows.length) : '');
  at(`${id}-empty`).hidden = rows.length > 0;
}

export function showTree(tree, rig, goTo) {
  const branches = tree.branches.map((branch) => {
    const from = branch.fork_branch ? `, from ${branch.fork_branch} at step ${branch.fork_step}` : '';
    const current = branch.name === rig.branch;
    const behind = branch.step !== null && rig.step < branch.step;
    const here = behind ? `here, at step ${rig.step}` : 'here';
    return {
      name: branch.name,
      node: branch.head,
      current,
      label: branch.label,
      badge: [LABELS[branch.label], current && here].filter(Boolean).join(' · '),
      detail: branch.length === null ? DASH : `${steps(branch.length)}${from}`,
      title: branch.note || `Go to the end of ${branch.name}`,
    };
  });
  showList('branches', branches, goTo);
  const checkpoints = tree.checkpoints.map((checkpoint) => ({
    name: checkpoint.name,
    node: checkpoint.node,
    current: false,
    badge: '',
    detail: checkpoint.step === null ? DASH : `step ${checkpoint.step} of ${checkpoint.branch}`,
    title: `Go to ${checkpoint.name}`,
  }));
  showList('checkpoints', checkpoints, goTo);
}
