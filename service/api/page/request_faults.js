// Where a refused field is explained: beside the field.

import { showFault } from "./fault.js";

const at = (selector) => document.querySelector(selector);
const PLACES = {
  labels: { error: at("#labels-error"), input: at("#label-input") },
  label_set: { error: at("#labels-error"), input: at("#label-input") },
  template: { error: at("#template-error"), input: at("#template") },
};

/** Show a problem beside its field, and clear the other fields. False if it is about none of them. */
export function showRequestFault(problem, eventsPanel) {
  const field = problem === null ? "" : problem.code === "unknown_label_set" ? "label_set" : problem.field;
  const events = { error: eventsPanel.querySelector(".events-error"), input: eventsPanel.querySelector(".threshold") };
  const places = { ...PLACES, threshold: events, hop_s: events, examples: PLACES.labels };
  const chosen = places[field];
  for (const { error, input } of new Set(Object.values(places)))
    if (error !== chosen?.error) showFault(error, "", input);
  if (problem?.status === 401) return true; // the key panel says so
  if (!chosen) return false;
  showFault(chosen.error, sentence(problem.message), chosen.input);
  return true;
}

/** "labels.3: empty text" as "Label 4: empty text." */
function sentence(detail) {
  const told = detail
    .replace(/^labels\.(\d+)[.\w]*: /, (_, index) => `Label ${Number(index) + 1}: `)
    .replace(/^(labels|label_set|threshold|hop_s): /, "");
  return told.charAt(0).toUpperCase() + told.slice(1);
}
