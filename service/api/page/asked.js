// What is asked of every recording: labels and how they are scored. One object, and those who want to know its changes.

const FIRST = [
  "crow", "dog barking", "choir", "drums", "piano", "burp", "speech", "rain", "footsteps", "car engine",
];

export const asked = {
  labels: FIRST.map(plain),
  draft: "", // the label that is being typed
  labelSet: null, // id of a registered set that `labels` are a copy of
  template: "",
  activation: "softmax",
  noneOfThese: true,
};

const listeners = new Set();

export function plain(name) {
  return { name, prompts: [], negativePrompts: [], examples: [], threshold: null };
}

export function isPlain(label) {
  return !label.prompts.length && !label.negativePrompts.length && !label.examples.length && label.threshold === null;
}

/** The labels with the one that is being typed. */
export function labelsNow() {
  const draft = asked.draft.trim();
  const known = draft === "" || asked.labels.some((label) => label.name === draft);
  return known ? asked.labels : [...asked.labels, plain(draft)];
}

export function onAsked(listener) {
  listeners.add(listener);
}

/** Change what is asked, and tell everyone. */
export function change(edit) {
  edit(asked);
  for (const listener of listeners) listener();
}

/** Add labels that are not there yet, in order. */
export function addLabels(names) {
  change(() => {
    for (const name of names.map((each) => each.trim()).filter(Boolean))
      if (!asked.labels.some((label) => label.name === name)) {
        asked.labels.push(plain(name));
        asked.labelSet = null;
      }
  });
}
