// Where recordings come from: chosen or dropped files, and the bundled examples.

import { showFault } from "./fault.js";
import { addRecordings } from "./recordings.js";
import { address } from "./service.js";

const files = document.querySelector("#files");
const veil = document.querySelector("#drop-veil");
const error = document.querySelector("#source-error");

export function startSources() {
  document.querySelector("#choose").addEventListener("click", () => files.click());
  files.addEventListener("change", () => {
    take([...files.files]);
    files.value = "";
  });
  startDropping();
  for (const button of document.querySelectorAll("[data-example]"))
    button.addEventListener("click", () => takeExample(button));
}

function take(chosen) {
  const empty = chosen.filter((file) => file.size === 0);
  showFault(error, empty.length ? `${empty.map((file) => file.name).join(", ")}: the file is empty.` : "");
  addRecordings(chosen.filter((file) => file.size > 0));
}

async function takeExample(button) {
  const name = button.dataset.example;
  try {
    const answer = await fetch(address(`page/examples/${name}`));
    if (!answer.ok) throw new Error(String(answer.status));
    take([new File([await answer.blob()], name, { type: answer.headers.get("Content-Type") })]);
  } catch {
    showFault(error, `${name} could not be loaded. Is the service still running?`);
  }
}

function startDropping() {
  let depth = 0;
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  const show = (shown) => {
    if (!shown) depth = 0;
    veil.hidden = !shown;
  };
  addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth += 1;
    show(true);
  });
  addEventListener("dragleave", (event) => {
    if (!carriesFiles(event)) return;
    depth -= 1;
    if (depth <= 0) show(false);
  });
  addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    show(false);
    take([...event.dataTransfer.files]);
  });
}
