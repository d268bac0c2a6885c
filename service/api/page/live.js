// Listening live: the microphone's stream, its scores as they come, the last minute on screen.

import { announce } from "./announcer.js";
import { asked, onAsked } from "./asked.js";
import { showFault } from "./fault.js";
import { onKey } from "./key.js";
import { LiveView } from "./live_view.js";
import { openMicrophone, timedName, wavOf, whyNoMicrophone } from "./microphone.js";
import { addRecordings } from "./recordings.js";
import { Stream } from "./stream.js";
import { percent } from "./numbers.js";
import { verdictOf } from "./verdict.js";

const MINUTE_S = 60;
const HOP_S = 0.5;
const SETTLED_MS = 500; // labels that are being typed do not restart the stream at every letter
const RETRY_MS = 2000;

const button = document.querySelector("#listen");
const text = document.querySelector("#listen-text");
const error = document.querySelector("#source-error");
let session = null;

export function startLive() {
  button.disabled = whyNoMicrophone() !== "";
  button.addEventListener("click", () => (session ? session.stop() : listen()));
  let timer;
  const restart = () => {
    clearTimeout(timer);
    timer = setTimeout(() => session?.connect(), SETTLED_MS);
  };
  onAsked(restart);
  onKey((wanted) => wanted || restart());
}

async function listen() {
  showFault(error, "");
  button.disabled = true;
  try {
    session = new Session();
    await session.start();
    button.setAttribute("aria-pressed", "true");
    text.textContent = "Stop live";
  } catch (problem) {
    session.view.remove();
    session = null;
    showFault(error, problem.message);
  } finally {
    button.disabled = false;
  }
}

class Session {
  constructor() {
    this.view = new LiveView({ stop: () => this.stop(), keep: () => this.keep() });
    this.blocks = []; // of the last minute
    this.frames = 0; // heard since the start
    this.stream = null;
    this.said = "";
  }

  async start() {
    this.microphone = await openMicrophone((block) => this.#hear(block));
    this.view.start(this.microphone.sampleRate);
    this.connect();
  }

  /** Open the stream with what is asked now. The microphone stays open. */
  connect() {
    clearTimeout(this.retry);
    this.stream?.close();
    this.stream = null;
    if (!asked.labels.length && !asked.draft.trim()) {
      this.view.fault("Add a label to listen for.");
      return;
    }
    let began = null; // second of the session at which the stream's audio begins
    const stream = new Stream(this.microphone.sampleRate, HOP_S, {
      ready: () => {
        began = this.frames / this.microphone.sampleRate;
        this.view.fault("");
        this.view.listening();
      },
      scores: (message) => this.#scores(message, began),
      dropped: (windows) => this.view.dropped(windows),
      failed: (detail) => this.view.fault(detail),
      closed: () => {
        if (this.stream !== stream) return;
        if (began === null && this.view.faulty) return; // refused: the same again would be refused as well
        this.view.fault("The stream has ended. Trying again.");
        this.retry = setTimeout(() => this.connect(), RETRY_MS);
      },
    });
    this.stream = stream;
  }

  /** Make a recording of the last minute, to look at more closely. */
  keep() {
    if (this.blocks.length) addRecordings([wavOf(this.blocks, this.microphone.sampleRate, timedName("Live"))]);
  }

  stop() {
    clearTimeout(this.retry);
    session = null;
    this.stream?.close();
    this.microphone.stop();
    this.view.remove();
    button.setAttribute("aria-pressed", "false");
    text.textContent = "Listen live";
    button.focus();
  }

  #hear(block) {
    if (!this.microphone) return;
    this.frames += block.length;
    this.blocks.push(block);
    if (this.blocks.length * block.length > MINUTE_S * this.microphone.sampleRate) this.blocks.shift();
    this.stream?.send(block);
    this.view.hear(block);
  }

  #scores(message, began) {
    this.view.score(message, began);
    const verdict = verdictOf(message.scores, message.none_of_these);
    if (verdict.text !== this.said) announce(`${verdict.text}${verdict.score ? `, ${percent(verdict.score)}` : ""}`);
    this.said = verdict.text;
  }
}
