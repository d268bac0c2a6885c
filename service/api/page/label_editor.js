// What a label may have beside its name: prompts, negative prompts, recordings as examples, a threshold of its own.

import { asked, change } from "./asked.js";
import { showFault } from "./fault.js";
import { megabytes } from "./numbers.js";
import { newestRecording } from "./recordings.js";

const MOST_EXAMPLES = 32;
const place = document.querySelector("#label-editor");
let opened = null; // {label, button}

/** Open the editor for a label, or close it if it is open. `button` is what opened it. */
export function editLabel(label, button) {
  const again = opened?.label === label;
  closeEditor();
  if (again) return;
  opened = { label, button };
  button.setAttribute("aria-expanded", "true");
  place.replaceChildren(...fields(label));
  place.hidden = false;
  place.querySelector("textarea").focus();
}

/** Close the editor, or only if it shows `label`. */
export function closeEditor(label = opened?.label) {
  if (!opened || opened.label !== label) return;
  opened.button.setAttribute("aria-expanded", "false");
  opened = null;
  place.hidden = true;
  place.replaceChildren();
}

place.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !opened) return;
  const { button } = opened;
  closeEditor();
  button.focus();
});

function edit(write) {
  change(() => {
    asked.labelSet = null;
    write();
  });
}

function fields(label) {
  const title = document.createElement("h3");
  title.textContent = label.name;
  const done = button("Done", "quiet", () => {
    const { button: opener } = opened;
    closeEditor();
    opener.focus();
  });
  const head = document.createElement("div");
  head.className = "card-head";
  head.append(title, done);
  return [
    head,
    lines("Prompts", "Sentences for this sound, one per line. They replace its name in the prompt.", label, "prompts"),
    lines("Not this", "Sounds that are mistaken for it, one per line.", label, "negativePrompts"),
    examples(label),
    threshold(label),
  ];
}

function lines(name, hint, label, member) {
  const wrap = document.createElement("label");
  wrap.className = "lines";
  const area = document.createElement("textarea");
  area.rows = 2;
  area.value = label[member].join("\n");
  area.addEventListener("input", () =>
    edit(() => {
      label[member] = area.value.split("\n").map((line) => line.trim()).filter(Boolean);
    }),
  );
  const note = document.createElement("span");
  note.className = "note";
  note.textContent = hint;
  wrap.append(name, area, note);
  return wrap;
}

function threshold(label) {
  const wrap = document.createElement("label");
  wrap.className = "inline";
  const input = document.createElement("input");
  input.type = "number";
  Object.assign(input, { min: "0", max: "1", step: "0.05", placeholder: "0.5" });
  input.value = label.threshold ?? "";
  input.addEventListener("input", () => {
    if (input.validity.valid) edit(() => (label.threshold = input.value === "" ? null : input.valueAsNumber));
  });
  wrap.append("Threshold of its events", input);
  return wrap;
}

function examples(label) {
  const group = document.createElement("div");
  group.className = "label-examples";
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", `Example recordings of ${label.name}`);
  const list = document.createElement("ul");
  const error = document.createElement("p");
  error.className = "error";
  error.setAttribute("role", "alert");
  error.hidden = true;
  const files = document.createElement("input");
  files.type = "file";
  files.multiple = true;
  files.hidden = true;
  files.addEventListener("change", () => {
    add([...files.files]);
    files.value = "";
  });
  const recording = button("Use the recording above", "", () => add([newestRecording().file]));
  recording.textContent = "Use the newest recording";
  recording.disabled = newestRecording() === null;

  function add(chosen) {
    const room = MOST_EXAMPLES - label.examples.length;
    showFault(error, chosen.length > room ? `A label takes up to ${MOST_EXAMPLES} examples.` : "");
    edit(() => label.examples.push(...chosen.slice(0, room)));
    show();
  }

  function show() {
    list.replaceChildren(
      ...label.examples.map((file) => {
        const row = document.createElement("li");
        const remove = button("Remove", "quiet", () => {
          edit(() => label.examples.splice(label.examples.indexOf(file), 1));
          show();
          choose.focus();
        });
        remove.setAttribute("aria-label", `Remove the example ${file.name}`);
        row.append(`${file.name}, ${megabytes(file.size)} `, remove);
        return row;
      }),
    );
  }

  const choose = button("Choose files", "", () => files.click());
  const name = document.createElement("span");
  name.textContent = "Examples";
  const note = document.createElement("span");
  note.className = "note";
  note.textContent = "Recordings of this sound. A few are enough.";
  const row = document.createElement("div");
  row.className = "actions";
  row.append(choose, recording);
  show();
  group.append(name, row, files, list, note, error);
  return group;
}

function button(text, className, click) {
  const element = document.createElement("button");
  element.type = "button";
  element.className = className;
  element.textContent = text;
  element.addEventListener("click", click);
  return element;
}
