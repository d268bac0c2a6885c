// The events of a recording: found by the service, then edited here as a table and as regions of the waveform.

import { FORMATS, save } from "./export.js";
import { percent, trimmed } from "./numbers.js";

const DEFAULT_THRESHOLD = 0.8; // above the service's 0.5: what is shown unasked should be clear
const NEW_EVENT_S = 1;
let lastId = 0;

export class Events {
  /** `on` has changed(rows), threshold() and place(): where a new event begins, in seconds. */
  constructor(details, name, on) {
    this.details = details;
    this.body = details.querySelector("tbody");
    this.thresholdInput = details.querySelector(".threshold");
    this.resetButton = details.querySelector(".reset-events");
    this.name = name;
    this.on = on;
    this.found = [];
    this.rows = [];
    this.edited = false;
    this.durationS = 0;
    this.labels = [];
    this.thresholdInput.value = DEFAULT_THRESHOLD;
    this.thresholdInput.addEventListener("input", () => this.thresholdInput.validity.valid && on.threshold());
    this.resetButton.addEventListener("click", () => this.#reset());
    details.querySelector(".add-event").addEventListener("click", () => this.#add());
    for (const button of details.querySelectorAll("[data-export]")) {
      button.addEventListener("click", () => save(this.name, button.dataset.export, this.rows));
      button.title = `Save as ${button.dataset.export in FORMATS ? FORMATS[button.dataset.export].suffix : ""}`;
    }
  }

  get threshold() {
    const value = this.thresholdInput.valueAsNumber;
    return Number.isFinite(value) && value >= 0 && value <= 1 ? value : DEFAULT_THRESHOLD;
  }

  /** New events from the service. What was edited stays until it is reset. */
  show(found, labels, durationS) {
    this.found = found;
    this.labels = labels;
    this.durationS = durationS;
    if (!this.edited) this.#take();
  }

  /** A region was moved or resized. */
  move(id, startS, endS) {
    const row = this.rows.find((each) => each.id === id);
    if (!row || (row.start_s === startS && row.end_s === endS)) return;
    row.start_s = Number(Math.max(0, startS).toFixed(3));
    row.end_s = Number(Math.min(endS, this.durationS).toFixed(3));
    this.#editedNow();
  }

  choose(id) {
    this.details.open = true;
    this.body.querySelector(`[data-id="${id}"] input`)?.focus();
  }

  #take() {
    this.rows = this.found.map((event) => ({ ...event, id: `event-${(lastId += 1)}` }));
    this.#render();
  }

  #reset() {
    this.edited = false;
    this.#take();
    this.thresholdInput.focus();
  }

  #add() {
    const startS = Number(Math.min(this.on.place(), Math.max(0, this.durationS - 0.1)).toFixed(3));
    const endS = Number(Math.min(this.durationS, startS + NEW_EVENT_S).toFixed(3));
    const row = { id: `event-${(lastId += 1)}`, label: this.labels[0] ?? "sound", start_s: startS, end_s: endS, score: null };
    this.rows.push(row);
    this.#editedNow();
    this.choose(row.id);
  }

  #editedNow() {
    this.edited = true;
    this.rows.sort((a, b) => a.start_s - b.start_s || a.end_s - b.end_s);
    this.#render();
  }

  #render() {
    this.resetButton.hidden = !this.edited;
    const count = this.rows.length;
    this.details.querySelector(".events-count").textContent = count === 1 ? "1 found" : `${count} found`;
    if (this.edited) this.details.querySelector(".events-count").textContent = `${count}, edited`;
    this.details.querySelector("table").hidden = count === 0;
    this.body.replaceChildren(...this.rows.map((row) => this.#row(row)));
    this.on.changed(this.rows);
  }

  #row(row) {
    const line = document.createElement("tr");
    line.dataset.id = row.id;
    const label = document.createElement("input");
    label.type = "text";
    label.value = row.label;
    label.setAttribute("aria-label", "Label");
    label.addEventListener("change", () => {
      row.label = label.value.trim() || row.label;
      this.#editedNow();
    });
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "quiet";
    remove.textContent = "Delete";
    remove.setAttribute("aria-label", `Delete ${row.label} at ${trimmed(row.start_s, 2)} seconds`);
    remove.addEventListener("click", () => {
      const place = this.rows.indexOf(row);
      this.rows.splice(place, 1);
      this.#editedNow();
      const next = this.body.children[Math.min(place, this.rows.length - 1)];
      (next?.querySelector("button") ?? this.resetButton).focus();
    });
    const score = row.score === null || row.score === undefined ? "–" : percent(row.score);
    line.append(...[label, this.#time(row, "start_s", "Start"), this.#time(row, "end_s", "End"), score, remove].map(cell));
    return line;
  }

  #time(row, edge, name) {
    const input = document.createElement("input");
    input.type = "number";
    input.step = "0.01";
    input.min = "0";
    input.max = String(this.durationS);
    input.value = trimmed(row[edge], 3);
    input.setAttribute("aria-label", `${name} of ${row.label}, in seconds`);
    input.addEventListener("change", () => {
      const value = input.valueAsNumber;
      const other = edge === "start_s" ? row.end_s : row.start_s;
      const ordered = edge === "start_s" ? value < other : value > other;
      if (!Number.isFinite(value) || value < 0 || value > this.durationS || !ordered) {
        input.value = trimmed(row[edge], 3);
        return;
      }
      row[edge] = value;
      this.#editedNow();
      this.body.querySelector(`[data-id="${row.id}"] [aria-label^="${name}"]`)?.focus();
    });
    return input;
  }
}

function cell(content) {
  const element = document.createElement("td");
  element.append(content);
  return element;
}
