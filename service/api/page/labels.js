// Labels as chips: typed, pasted, taken from a registered set, opened to give them more than a name.

import { addLabels, asked, change, isPlain, onAsked } from "./asked.js";
import { closeEditor, editLabel } from "./label_editor.js";

const list = document.querySelector("#chips");
const input = document.querySelector("#label-input");
const SEPARATORS = /[,;\t\r\n]+/;

export function startLabels() {
  render();
  onAsked(render);
  input.addEventListener("input", () => {
    if (SEPARATORS.test(input.value)) {
      const parts = input.value.split(SEPARATORS);
      input.value = parts.pop().trimStart();
      addLabels(parts);
    }
    change(() => {
      asked.draft = input.value;
    });
  });
  input.addEventListener("paste", (event) => {
    const text = event.clipboardData.getData("text");
    if (!SEPARATORS.test(text.trim())) return;
    event.preventDefault();
    addLabels((input.value + text).split(SEPARATORS));
    clearInput();
  });
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter") {
      event.preventDefault();
      commit();
    } else if (event.key === "Backspace" && input.value === "" && asked.labels.length) {
      remove(asked.labels.at(-1));
    }
  });
  input.addEventListener("blur", commit);
  document.querySelector("#label-field").addEventListener("click", (event) => {
    if (event.target.id === "label-field" || event.target.id === "chips") input.focus();
  });
  document.querySelector("#clear-labels").addEventListener("click", () => {
    closeEditor();
    change(() => {
      asked.labels = [];
      asked.labelSet = null;
    });
    input.focus();
  });
}

function commit() {
  if (input.value.trim() === "") return;
  const name = input.value;
  input.value = "";
  asked.draft = "";
  addLabels([name]);
}

function clearInput() {
  input.value = "";
  change(() => {
    asked.draft = "";
  });
}

function remove(label) {
  closeEditor(label);
  change(() => {
    asked.labels = asked.labels.filter((each) => each !== label);
    asked.labelSet = null;
  });
}

function render() {
  const known = new Map([...list.children].map((chip) => [chip.dataset.label, chip]));
  const chips = asked.labels.map((label) => {
    const chip = known.get(label.name)?.label === label ? known.get(label.name) : chipOf(label);
    chip.classList.toggle("rich", !isPlain(label));
    return chip;
  });
  if (chips.length !== list.children.length || chips.some((chip, place) => chip !== list.children[place]))
    list.replaceChildren(...chips);
}

function chipOf(label) {
  const chip = document.createElement("li");
  chip.className = "chip";
  chip.label = label;
  chip.dataset.label = label.name;
  const open = document.createElement("button");
  open.type = "button";
  open.className = "chip-name";
  open.textContent = label.name;
  open.setAttribute("aria-expanded", "false");
  open.setAttribute("aria-controls", "label-editor");
  open.addEventListener("click", () => editLabel(label, open));
  const close = document.createElement("button");
  close.type = "button";
  close.className = "chip-remove";
  close.textContent = "×";
  close.setAttribute("aria-label", `Remove ${label.name}`);
  close.addEventListener("click", () => {
    remove(label);
    input.focus();
  });
  chip.append(open, close);
  return chip;
}
