// A request to POST /v1/classify, from what is asked.

import { asked, isPlain, labelsNow } from "./asked.js";
import { ask } from "./service.js";

/** The labels as the service takes them. Examples travel as files beside them. */
export function labelsJson(labels) {
  return labels.map((label) => {
    if (isPlain(label) || onlyExamples(label)) return label.name;
    const row = { name: label.name };
    if (label.prompts.length) row.prompts = label.prompts;
    if (label.negativePrompts.length) row.negative_prompts = label.negativePrompts;
    if (label.threshold !== null) row.threshold = label.threshold;
    return row;
  });
}

function onlyExamples(label) {
  return isPlain({ ...label, examples: [] });
}

/** The fields beside audio and labels that differ from the service's defaults. */
export function optionFields() {
  const fields = {};
  if (asked.template) fields.template = asked.template;
  if (asked.activation !== "softmax") fields.activation = asked.activation;
  if (asked.noneOfThese) fields.none_of_these = "true";
  return fields;
}

/** Scores of one recording over its whole length and over time, and its events. Throws Problem. */
export async function classify(file, name, { hopS = null, threshold = null, signal }) {
  const form = new FormData();
  if (asked.labelSet !== null && asked.draft.trim() === "") form.append("label_set", asked.labelSet);
  else {
    const labels = labelsNow();
    form.append("labels", JSON.stringify(labelsJson(labels)));
    for (const label of labels) for (const example of label.examples) form.append(`examples.${label.name}`, example, example.name);
  }
  for (const [field, value] of Object.entries(optionFields())) form.append(field, value);
  form.append("timeline", "true");
  form.append("events", "true");
  if (threshold !== null) form.append("threshold", String(threshold));
  if (hopS !== null) form.append("hop_s", String(hopS));
  form.append("audio", file, name);
  const answer = await ask("v1/classify", { method: "POST", body: form, signal });
  return { ...answer.results[0], model: answer.model, warnings: answer.warnings ?? [] };
}
