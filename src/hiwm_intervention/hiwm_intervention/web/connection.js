// SPDX-License-Identifier: Apache-2.0
// The WebSocket to the server: views in, asks and what is held out, and back again after every loss.

const RETRY_MS = 1000;
// The server says something every second. A network that was cut closes nothing: silence tells.
const SILENCE_MS = 4000;

export class Connection {
  // `on` has hello(message), view(view, image), up(), down(reason); image is a Blob or null.
  constructor(on) {
    this.on = on;
    this.asks = new Map();
    this.nextAsk = 1;
    this.open = false;
    this.connect();
    setInterval(() => this.watch(), RETRY_MS);
  }

  connect() {
    this.heard = performance.now();
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    this.socket = new WebSocket(`${scheme}://${location.host}/ws`);
    this.socket.binaryType = 'arraybuffer';
    // Views are taken in one after the other, so that an earlier frame never lands on a later one.
    let order = Promise.resolve();
    this.socket.onopen = () => {
      this.open = true;
      this.on.up();
    };
    this.socket.onmessage = (event) => {
      this.heard = performance.now();
      if (typeof event.data === 'string') {
        this.take(JSON.parse(event.data));
      } else {
        order = order.then(() => this.takeView(event.data));
      }
    };
    this.socket.onclose = () => this.lost();
  }

  take(message) {
    if (message.type === 'hello') {
      this.on.hello(message);
    } else if (message.type === 'reply' && this.asks.has(message.id)) {
      this.asks.get(message.id)(message);
      this.asks.delete(message.id);
    }
  }

  async takeView(data) {
    const length = new DataView(data).getUint32(0, true);
    const view = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    const bytes = new Uint8Array(data, 4 + length);
    const type = bytes[0] === 0x89 ? 'image/png' : 'image/jpeg';
    await this.on.view(view, bytes.length ? new Blob([bytes], { type }) : null);
    this.send({ type: 'seen', seq: view.seq });
  }

  // A page that is not shown may be given no time to listen, so its silence means nothing.
  watch() {
    if (document.hidden || performance.now() - this.heard < SILENCE_MS) return;
    const { socket } = this;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    this.lost();
  }

  async lost() {
    this.open = false;
    this.heard = Infinity;
    for (const settle of this.asks.values()) {
      settle({ ok: false, text: 'The connection was lost before an answer came.' });
    }
    this.asks.clear();
    this.on.down('lost');
    if ((await this.reason()) === 'refused') this.on.down('refused');
    setTimeout(() => this.connect(), RETRY_MS);
  }

  // A browser does not say why a WebSocket was refused; a request of the page does.
  async reason() {
    try {
      const response = await fetch('/', { method: 'HEAD', signal: AbortSignal.timeout(SILENCE_MS) });
      return response.status === 403 ? 'refused' : 'lost';
    } catch {
      return 'lost';
    }
  }

  send(message) {
    if (this.open && this.socket.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify(message));
    }
  }

  // {keys, drag, device, deadman, at}: see console_protocol.
  hold(held) {
    this.send({ type: 'hold', ...held });
  }

  // Resolves to {ok, text}; never rejects.
  ask(name, fields = {}) {
    if (!this.open) {
      return Promise.resolve({ ok: false, text: 'The page is not connected.' });
    }
    const id = this.nextAsk++;
    return new Promise((settle) => {
      this.asks.set(id, settle);
      this.send({ type: 'ask', id, name, ...fields });
    });
  }
}
