// Result rows, one per label: name, bar, score, and a lane of the heat map.

import { percent } from "./numbers.js";

export class Rows {
  /** `list` is the <ol> that the rows are put into. */
  constructor(list) {
    this.list = list;
    this.byLabel = new Map();
  }

  /** Show `scores` [{label, score}] in this order; those for which `heard` is false are greyed. Others leave. */
  show(scores, heard) {
    const shown = new Set(scores.map(({ label }) => label));
    for (const [label, row] of this.byLabel)
      if (!shown.has(label)) {
        row.element.remove();
        this.byLabel.delete(label);
      }
    scores.forEach(({ label, score }, place) => {
      const row = this.byLabel.get(label) ?? this.#add(label);
      row.bar.style.transform = `scaleX(${score})`;
      row.score.textContent = percent(score);
      row.element.classList.toggle("rejected", !heard(label, score));
      row.element.dataset.score = score.toFixed(4);
      if (this.list.children[place] !== row.element) this.list.insertBefore(row.element, this.list.children[place] ?? null);
    });
  }

  /** Called for each row with its label and its canvas. */
  forEachLane(draw) {
    for (const [label, row] of this.byLabel) draw(label, row.lane);
  }

  #add(label) {
    const element = document.createElement("li");
    element.dataset.label = label;
    const name = cell("span", "row-label", label);
    name.title = label;
    const track = cell("span", "row-track");
    const bar = cell("span", "row-bar");
    track.append(bar);
    const score = cell("span", "row-score");
    const lane = cell("canvas", "lane");
    lane.setAttribute("aria-hidden", "true");
    element.append(name, track, score, lane);
    const row = { element, bar, score, lane };
    this.byLabel.set(label, row);
    return row;
  }
}

function cell(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}
