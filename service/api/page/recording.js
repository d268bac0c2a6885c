// One recording: its card, what the service says of it, its waveform, heat map and events.

import { announce } from "./announcer.js";
import { asked } from "./asked.js";
import { classify } from "./classify.js";
import { Events } from "./events.js";
import { showFault } from "./fault.js";
import { borders, drawLane, drawRamp } from "./heat_map.js";
import { showRequestFault } from "./request_faults.js";
import { latest } from "./latest.js";
import { limits, windowS } from "./model.js";
import { clock, duration, megabytes, percent, ticks, trimmed } from "./numbers.js";
import { onTheme } from "./ramp.js";
import { Rows } from "./rows.js";
import { heardIn, showVerdict, verdictOf } from "./verdict.js";
import { Waveform } from "./waveform.js";

const ROWS = 12; // shown before "all"
const FINEST_HOP_S = 0.25;
const WINDOWS = 160; // of a heat map, at most, unless the model's own hop makes more
const HOPS_S = [0.25, 0.5, 1, 2, 2.5, 5, 10];
const LONGEST_PAUSE_S = 10;
const ARROW_S = 1;

export class Recording {
  constructor(file, name, removed) {
    this.file = file;
    this.name = name;
    this.element = document.querySelector("#recording-card").content.firstElementChild.cloneNode(true);
    this.find = (selector) => this.element.querySelector(selector);
    this.life = new AbortController();
    this.result = null;
    this.durationS = null;
    this.hopS = null;
    this.all = false;
    this.rows = new Rows(this.find(".rows"));
    this.wave = this.find(".wave");
    this.play = this.find(".play");
    this.events = new Events(this.find(".events"), name, {
      changed: (rows) => this.waveform?.showRegions(rows),
      threshold: () => this.refresh(),
      place: () => this.waveform?.seconds ?? 0,
    });
    this.refresh = latest(() => this.#classify());
    this.find(".recording-name").textContent = name;
    this.find(".recording-facts").textContent = megabytes(file.size);
    this.find(".remove").setAttribute("aria-label", `Remove ${name}`);
    this.find(".remove").addEventListener("click", () => {
      this.life.abort();
      this.element.remove();
      removed(this);
    });
    this.wave.setAttribute("aria-label", `Position in ${name}`);
    this.find(".rows").setAttribute("aria-label", `Scores of ${name}`);
    this.find(".all-rows").addEventListener("click", () => {
      this.all = !this.all;
      this.#show();
    });
    this.#playing(false);
  }

  /** Draw the waveform and ask for scores. The card has to be in the document. */
  start() {
    drawRamp(this.find(".ramp canvas"));
    new ResizeObserver(() => this.#draw()).observe(this.find(".tracks"));
    onTheme(() => this.#draw(), this.life.signal);
    this.#draw();
    this.refresh();
    return this.#loadWaveform();
  }

  async #loadWaveform() {
    const on = {
      time: (seconds) => this.#showTime(seconds),
      playing: (playing) => this.#playing(playing),
      regionMoved: (...edges) => this.events.move(...edges),
      regionChosen: (id) => this.events.choose(id),
    };
    const waveform = new Waveform(this.wave, on, this.life.signal);
    try {
      this.durationS = await waveform.load(this.file);
    } catch {
      if (this.life.signal.aborted) return;
      this.wave.hidden = true;
      this.play.hidden = true;
      showFault(this.find(".undecodable"), "This browser cannot play this format, so there is no waveform.");
      return;
    }
    this.waveform = waveform;
    this.play.disabled = false;
    this.play.addEventListener("click", () => waveform.toggle());
    this.wave.addEventListener("keydown", (event) => this.#key(event));
    this.find(".rows").addEventListener("click", (event) => this.#seekTo(event));
    waveform.showRegions(this.events.rows);
    this.#showTime(0);
    this.#draw();
  }

  async #classify() {
    const { signal } = this.life;
    if (signal.aborted || (!asked.labels.length && !asked.draft.trim())) return;
    if (this.file.size > limits.max_upload_bytes) {
      this.#fault(`This file has ${megabytes(this.file.size)}; the service takes up to ${megabytes(limits.max_upload_bytes)}.`);
      return;
    }
    this.element.setAttribute("aria-busy", "true");
    try {
      const result = await classify(this.file, this.name, { hopS: this.hopS, threshold: this.events.threshold, signal });
      this.#take(result);
    } catch (problem) {
      if (signal.aborted) return;
      if (problem.passing) {
        const pause = Math.min(problem.retryAfter ?? 1, LONGEST_PAUSE_S);
        if (!this.result) this.#fault(`${problem.message} Trying again.`);
        setTimeout(() => this.refresh(), pause * 1000);
      } else if (!showRequestFault(problem, this.events.details)) this.#fault(problem.message);
    } finally {
      this.element.removeAttribute("aria-busy");
    }
  }

  #take(result) {
    this.result = result;
    this.#fault("");
    showRequestFault(null, this.events.details);
    this.durationS ??= result.duration_s;
    this.find(".recording-facts").textContent = `${duration(result.duration_s)}, ${megabytes(this.file.size)}`;
    this.#show();
    const best = verdictOf(result.scores, result.none_of_these);
    announce(`${this.name}: ${best.text}${best.score ? `, ${percent(best.score)}` : ""}`);
    const hopS = finerHop(result);
    this.element.dataset.settled = hopS === this.hopS;
    if (hopS !== this.hopS) {
      this.hopS = hopS;
      this.refresh();
    }
  }

  #show() {
    const { scores, none_of_these: none, timeline, events } = this.result;
    const draft = asked.draft.trim();
    const shown = this.all ? scores : scores.filter(({ label }, place) => place < ROWS || label === draft);
    this.rows.show(shown, heardIn(scores, none));
    showVerdict(this.find(".verdict"), verdictOf(scores, none));
    this.element.dataset.windows = timeline.length;
    this.edges = borders(timeline, this.result.duration_s);
    this.lanes = new Map(scores.map(({ label }) => [label, new Float32Array(timeline.length)]));
    timeline.forEach((window, index) => {
      for (const { label, score } of window.scores) this.lanes.get(label)[index] = score;
    });
    this.events.show(events ?? [], scores.map(({ label }) => label), this.result.duration_s);
    const more = this.find(".all-rows");
    more.hidden = scores.length <= ROWS;
    more.textContent = this.all ? `Show the best ${ROWS}` : `Show all ${scores.length} labels`;
    this.#draw();
  }

  #draw() {
    drawRamp(this.find(".ramp canvas"));
    if (!this.result) return;
    this.rows.forEachLane((label, canvas) => {
      drawLane(canvas, this.lanes.get(label) ?? [], this.edges, 0, this.result.duration_s);
    });
    const axis = this.find(".axis");
    const total = this.result.duration_s;
    axis.replaceChildren(
      ...ticks(total, Math.max(2, axis.clientWidth / 90)).map((seconds) => {
        const tick = document.createElement("span");
        tick.style.left = `${(seconds / total) * 100}%`;
        tick.textContent = total < 60 ? trimmed(seconds, 1) : clock(seconds);
        return tick;
      }),
    );
  }

  #showTime(seconds) {
    const total = this.durationS ?? 0;
    this.find(".time").textContent = `${total < 60 ? trimmed(seconds, 1) : clock(seconds)} / ${duration(total)}`;
    this.wave.setAttribute("aria-valuemax", trimmed(total, 2));
    this.wave.setAttribute("aria-valuenow", trimmed(seconds, 2));
    this.wave.setAttribute("aria-valuetext", `${trimmed(seconds, 1)} of ${trimmed(total, 1)} seconds`);
    const head = this.find(".playhead");
    head.hidden = total === 0 || seconds === 0;
    head.style.setProperty("--place", String(total ? seconds / total : 0));
  }

  #playing(playing) {
    this.play.classList.toggle("playing", playing);
    this.play.setAttribute("aria-label", `${playing ? "Pause" : "Play"} ${this.name}`);
  }

  #seekTo(event) {
    if (!event.target.classList.contains("lane")) return;
    const box = event.target.getBoundingClientRect();
    this.waveform.seek(((event.clientX - box.left) / box.width) * this.durationS);
  }

  #key(event) {
    const steps = { ArrowLeft: -ARROW_S, ArrowRight: ARROW_S, Home: -Infinity, End: Infinity };
    if (event.target !== this.wave) return;
    if (event.key in steps) {
      const step = Math.max(-this.durationS, Math.min(this.durationS, steps[event.key]));
      this.waveform.seek(this.waveform.seconds + (this.durationS < 10 && Number.isFinite(steps[event.key]) ? step / 10 : step));
    } else if (event.key === " " || event.key === "Enter") this.waveform.toggle();
    else return;
    event.preventDefault();
  }

  #fault(message) {
    showFault(this.find(".recording-error"), message);
    this.element.classList.toggle("faulty", Boolean(message) && !this.result);
  }
}

/** Seconds between the windows of a heat map that is fine enough to look at; null for the model's own distance. */
function finerHop({ duration_s: total }) {
  if (total <= windowS()) return null;
  const hop = HOPS_S.find((each) => each >= FINEST_HOP_S && total / each <= WINDOWS);
  return hop !== undefined && hop < windowS() ? hop : null;
}
