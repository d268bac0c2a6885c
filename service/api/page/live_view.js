// The card of live listening: the last minute's waveform and heat map, rolling, and what is heard now.

import { showFault } from "./fault.js";
import { drawLane, fitted } from "./heat_map.js";
import { styleColour } from "./ramp.js";
import { reveal } from "./reveal.js";
import { Rows } from "./rows.js";
import { heardIn, showVerdict, verdictOf } from "./verdict.js";

const SHOWN_S = 60;
const BARS = 240; // of the waveform
const FRAME_MS = 50;
const CALM_FRAME_MS = 500;
const MOST_ROWS = 12;

const empty = document.querySelector("#empty");

export class LiveView {
  /** `on` has stop() and keep(). */
  constructor(on) {
    this.element = document.querySelector("#live-card").content.firstElementChild.cloneNode(true);
    this.find = (selector) => this.element.querySelector(selector);
    this.rows = new Rows(this.find(".rows"));
    this.find(".rows").setAttribute("aria-label", "Scores of what is heard now");
    this.find(".stop").addEventListener("click", on.stop);
    this.find(".keep").addEventListener("click", on.keep);
    this.peaks = []; // [loudest of each bar], by bar number
    this.scored = []; // {fromS, toS, byLabel}, in order of time
    this.seconds = 0;
    this.lost = 0;
    this.faulty = false;
    document.querySelector("#live-place").append(this.element);
    empty.hidden = true;
  }

  start(sampleRate) {
    this.sampleRate = sampleRate;
    this.#facts("Connecting");
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.timer = setInterval(() => requestAnimationFrame(() => this.#draw()), calm ? CALM_FRAME_MS : FRAME_MS);
    this.#axis();
    reveal(this.element);
  }

  remove() {
    clearInterval(this.timer);
    this.element.remove();
    empty.hidden = document.querySelector("#recordings").children.length > 0;
  }

  listening() {
    this.#facts("Listening");
  }

  dropped(windows) {
    this.lost += windows;
    this.#facts(`Listening. The service is busy: ${this.lost} moments were not scored.`);
  }

  fault(message) {
    this.faulty = Boolean(message);
    showFault(this.find(".live-error"), message);
  }

  hear(block) {
    const bar = Math.floor((this.seconds / SHOWN_S) * BARS);
    let loudest = this.peaks[bar] ?? 0;
    for (const sample of block) loudest = Math.max(loudest, Math.abs(sample));
    this.peaks[bar] = loudest;
    this.seconds += block.length / this.sampleRate;
    delete this.peaks[bar - BARS - 2];
  }

  /** The scores of a window that began `start_s` after second `began` of the session. */
  score(message, began) {
    const { scores, none_of_these: none } = message;
    const ordered = [...scores].sort((a, b) => b.score - a.score).slice(0, MOST_ROWS);
    const toS = began + message.end_s;
    const fromS = Math.max(this.scored.at(-1)?.toS ?? began, began + message.start_s);
    this.scored.push({ fromS, toS, byLabel: new Map(scores.map(({ label, score }) => [label, score])) });
    while (this.scored.length && this.scored[0].toS < this.seconds - SHOWN_S) this.scored.shift();
    this.#settle(ordered);
    this.rows.show(this.order.map((label) => scores.find((row) => row.label === label)), heardIn(scores, none));
    showVerdict(this.find(".verdict"), verdictOf(scores, none));
    this.element.dataset.lag = (this.seconds - toS).toFixed(2);
  }

  /** Rows keep their places while their labels stay, so that eyes can rest on one. */
  #settle(ordered) {
    const now = new Set(ordered.map(({ label }) => label));
    this.order = (this.order ?? []).filter((label) => now.has(label));
    for (const { label } of ordered) if (!this.order.includes(label)) this.order.push(label);
  }

  #facts(text) {
    this.find(".live-facts").textContent = text;
  }

  #axis() {
    this.find(".axis").replaceChildren(
      ...[60, 45, 30, 15, 0].map((ago) => {
        const tick = document.createElement("span");
        tick.style.left = `${(1 - ago / SHOWN_S) * 100}%`;
        tick.textContent = ago ? `−${ago}` : "now";
        return tick;
      }),
    );
  }

  #draw() {
    if (!this.element.isConnected) return;
    const fromS = this.seconds - SHOWN_S;
    this.#drawWave();
    const edges = this.scored.map(({ fromS: start }) => start);
    edges.push(this.scored.at(-1)?.toS ?? 0);
    this.rows.forEachLane((label, canvas) => {
      const scores = this.scored.map(({ byLabel }) => byLabel.get(label) ?? 0);
      drawLane(canvas, scores, edges, fromS, this.seconds);
    });
  }

  #drawWave() {
    const canvas = this.find(".live-wave");
    const context = fitted(canvas);
    context.fillStyle = styleColour("--wave");
    const step = canvas.width / BARS;
    const last = (this.seconds / SHOWN_S) * BARS;
    for (let bar = Math.max(0, Math.floor(last) - BARS); bar <= last; bar += 1) {
      const loud = Math.sqrt((this.peaks[bar] ?? 0) / 32768);
      const height = Math.max(devicePixelRatio, loud * canvas.height * 0.95);
      context.fillRect(canvas.width - (last - bar) * step, (canvas.height - height) / 2, step * 0.6, height);
    }
  }
}
