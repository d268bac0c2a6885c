// All recordings: from files, the microphone or an example, to cards, newest first.

import { onAsked } from "./asked.js";
import { onKey } from "./key.js";
import { Recording } from "./recording.js";
import { reveal } from "./reveal.js";

const place = document.querySelector("#recordings");
const empty = document.querySelector("#empty");
const listeners = new Set();
const all = [];
const AT_ONCE = 4;

export function onRecordings(listener) {
  listeners.add(listener);
}

export function newestRecording() {
  return all[0] ?? null;
}

/** Show files as recordings, the first on top. */
export async function addRecordings(files) {
  const added = files.map((file) => new Recording(file, file.name, forget));
  all.unshift(...added);
  place.prepend(...added.map((recording) => recording.element));
  changed();
  reveal(added[0]?.element);
  const waiting = [...added];
  // Decoding takes memory: a few at a time.
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (let next = waiting.shift(); next; next = waiting.shift()) await next.start();
    }),
  );
}

function forget(recording) {
  all.splice(all.indexOf(recording), 1);
  changed();
  document.querySelector("#choose").focus();
}

function changed() {
  empty.hidden = all.length > 0;
  for (const listener of listeners) listener();
}

export function startRecordings() {
  const refresh = () => all.forEach((recording) => recording.refresh());
  onAsked(refresh);
  onKey((wanted) => wanted || refresh());
}
