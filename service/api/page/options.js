// How labels are scored: activation, "none of these", the prompt template.

import { asked, change, onAsked } from "./asked.js";
import { showFault } from "./fault.js";

const template = document.querySelector("#template");
const error = document.querySelector("#template-error");

export function startOptions() {
  for (const radio of document.querySelectorAll("[name=activation]"))
    radio.addEventListener("change", () => change(() => (asked.activation = radio.value)));
  const none = document.querySelector("#none");
  none.addEventListener("change", () => change(() => (asked.noneOfThese = none.checked)));
  template.addEventListener("input", () => {
    const places = template.value.match(/\{(label)?\}/g)?.length ?? 0;
    const fits = template.value === "" || places === 1;
    showFault(error, fits ? "" : "Write {label} once, where the label's name goes.", template);
    if (fits) change(() => (asked.template = template.value));
  });
  onAsked(() => {
    if (document.activeElement !== template) template.value = asked.template;
  });
}

export function showDefaultTemplate(text) {
  template.placeholder = text;
}
