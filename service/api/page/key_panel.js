// The place for a key, shown when the service asks for one.

import { key, onKey, useKey } from "./key.js";

const panel = document.querySelector("#key-panel");
const input = panel.querySelector("#key");
const error = panel.querySelector("#key-error");

export function startKeyPanel() {
  onKey((wanted) => {
    error.hidden = !wanted || key() === "";
    error.textContent = error.hidden ? "" : "The service does not know this key.";
    input.setAttribute("aria-invalid", String(!error.hidden));
    if (wanted && panel.hidden) {
      panel.hidden = false;
      input.focus();
    }
    if (!wanted) panel.hidden = true;
  });
  panel.addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.value.trim()) useKey(input.value.trim());
  });
}
