// What is heard, by the scores of the labels and that of "none of these".

import { asked } from "./asked.js";
import { percent } from "./numbers.js";

const SIGMOID_HEARD = 0.5;

/** A predicate over a row. With softmax one label can be heard, the best, if it beats "none of these". */
export function heardIn(scores, noneOfThese) {
  if (asked.activation === "sigmoid") {
    const own = new Map(asked.labels.map((label) => [label.name, label.threshold ?? SIGMOID_HEARD]));
    return (label, score) => score >= (own.get(label) ?? SIGMOID_HEARD);
  }
  const best = scores.reduce((found, row) => (row.score > found.score ? row : found), { label: null, score: -1 });
  const bar = noneOfThese ?? 0;
  return (label, score) => label === best.label && score >= bar;
}

/** The answer in words: {text, score, none}. */
export function verdictOf(scores, noneOfThese) {
  const heard = heardIn(scores, noneOfThese);
  const found = scores.filter(({ label, score }) => heard(label, score)).sort((a, b) => b.score - a.score);
  if (!found.length) return { text: "None of these", score: noneOfThese, none: true };
  const names = found.slice(0, 3).map(({ label }) => label);
  return { text: names.join(" + "), score: found.length === 1 ? found[0].score : null, none: false };
}

export function showVerdict(place, { text, score, none }) {
  place.classList.toggle("none", none);
  place.querySelector(".verdict-label").textContent = text;
  place.querySelector(".verdict-score").textContent = score === null || score === undefined ? "" : percent(score);
}
