// The checkpoint that is served, and the limits of the service.

import { onKey } from "./key.js";
import { ask } from "./service.js";

const RETRY_MS = 1000;

export const limits = { max_upload_bytes: Infinity, max_audio_seconds: 600, max_labels: 1000 };
let card = null;

/** Length of the model's window in seconds. */
export function windowS() {
  return card?.front_end.window_s ?? Infinity;
}

/** Ask for the model card until there is one. `ready` is called with it. */
export function startModel(ready) {
  async function load() {
    try {
      card = await ask("v1/model");
    } catch (problem) {
      if (problem.status !== 401) setTimeout(load, (problem.retryAfter ?? 1) * RETRY_MS);
      return;
    }
    Object.assign(limits, card.limits);
    document.querySelector("#model").hidden = false;
    document.querySelector("#model-name").textContent = card.name;
    const fingerprint = document.querySelector("#model-fingerprint");
    fingerprint.textContent = card.fingerprint.slice(0, 12);
    fingerprint.title = `fingerprint ${card.fingerprint}`;
    ready(card);
  }
  onKey((wanted) => wanted || load());
  load();
}
