// Registered label sets, to take their labels from.

import { asked, change, onAsked, plain } from "./asked.js";
import { showFault } from "./fault.js";
import { ask } from "./service.js";

const select = document.querySelector("#label-sets");
const error = document.querySelector("#labels-error");

/** Offer the sets that the caller may use, if there are any. */
export async function loadLabelSets() {
  let sets;
  try {
    ({ label_sets: sets } = await ask("v1/label-sets"));
  } catch {
    return; // labels can be typed all the same
  }
  select.hidden = sets.length === 0;
  select.replaceChildren(
    new Option("Label sets", ""),
    ...sets.map(({ id, labels }) => new Option(`${id} (${labels})`, id)),
  );
  show();
}

function show() {
  select.value = asked.labelSet ?? "";
}

export function startLabelSets() {
  onAsked(show);
  select.addEventListener("change", async () => {
    if (select.value === "") return;
    const id = select.value;
    try {
      const set = await ask(`v1/label-sets/${encodeURIComponent(id)}`);
      change(() => {
        asked.labels = set.labels.map(fromSet);
        asked.labelSet = id;
        asked.template = set.template ?? "";
      });
      showFault(error, "");
    } catch (problem) {
      showFault(error, problem.message);
      show();
    }
  });
}

function fromSet(label) {
  return {
    ...plain(label.name),
    prompts: label.prompts ?? [],
    negativePrompts: label.negative_prompts ?? [],
    threshold: label.threshold ?? null,
  };
}
