// Live audio to WS /v1/stream, and what comes back.

import { asked, labelsNow } from "./asked.js";
import { labelsJson } from "./classify.js";
import { key, refuseKey } from "./key.js";
import { address } from "./service.js";

const MOST_WAITING_BYTES = 1 << 20; // a second line of defence: the service drops what it cannot follow

/** `on` has ready(message), scores(message), dropped(windows), failed(text) and closed(). */
export class Stream {
  constructor(sampleRate, hopS, on) {
    this.on = on;
    this.open = false;
    this.sampleRate = sampleRate;
    const url = address("v1/stream");
    url.protocol = url.protocol.replace("http", "ws");
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = async () => this.socket.send(JSON.stringify(await configuration(sampleRate, hopS)));
    this.socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    this.socket.onclose = () => {
      this.open = false;
      on.closed();
    };
  }

  /** Whether the block was sent. */
  send(block) {
    if (!this.open || this.socket.bufferedAmount > MOST_WAITING_BYTES) return false;
    this.socket.send(block);
    return true;
  }

  close() {
    this.on = { ready() {}, scores() {}, dropped() {}, failed() {}, closed() {} };
    if (this.open) this.socket.send('{"type": "end"}');
    this.socket.close();
  }

  #take(message) {
    if (message.type === "ready") {
      this.open = true;
      this.on.ready(message);
    } else if (message.type === "scores") this.on.scores(message);
    else if (message.type === "dropped") this.on.dropped(message.windows);
    else if (message.code) {
      if (message.code === "unauthorized") refuseKey();
      this.on.failed(message.detail ?? message.code);
    }
  }
}

async function configuration(sampleRate, hopS) {
  const fields = { encoding: "s16le", sample_rate: sampleRate, hop_s: hopS };
  const labels = labelsNow();
  if (asked.labelSet !== null) fields.label_set = asked.labelSet;
  else fields.labels = await Promise.all(labelsJson(labels).map((row, place) => withExamples(row, labels[place].examples)));
  if (asked.template) fields.template = asked.template;
  fields.activation = asked.activation;
  fields.none_of_these = asked.noneOfThese;
  if (key()) fields.api_key = key();
  return fields;
}

async function withExamples(row, files) {
  if (!files.length) return row;
  const examples = await Promise.all(files.map(async (file) => ({ data: await base64(file) })));
  return { ...(typeof row === "string" ? { name: row } : row), examples };
}

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
