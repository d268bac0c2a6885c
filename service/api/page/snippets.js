// The request of the page as curl, Python and JavaScript, to copy.

import { asked, labelsNow, onAsked } from "./asked.js";
import { labelsJson, optionFields } from "./classify.js";
import { key, onKey } from "./key.js";
import { newestRecording, onRecordings } from "./recordings.js";
import { address } from "./service.js";

const place = document.querySelector("#snippet");
const note = document.querySelector("#copy-note");
let language = "curl";

export function startSnippets() {
  for (const radio of document.querySelectorAll("[name=language]"))
    radio.addEventListener("change", () => {
      language = radio.value;
      show();
    });
  document.querySelector("#copy").addEventListener("click", copy);
  onAsked(show);
  onKey(show);
  onRecordings(show);
  show();
}

function show() {
  note.textContent = "";
  place.textContent = { curl, python, javascript }[language](newestRecording()?.name ?? "recording.wav");
}

async function copy() {
  const range = document.createRange();
  range.selectNodeContents(place);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  try {
    await navigator.clipboard.writeText(place.textContent);
    note.textContent = "Copied.";
  } catch {
    note.textContent = "The browser gives no clipboard to this page. The code is selected: copy it with the keyboard or the menu.";
  }
}

function base() {
  return address("").href.replace(/\/$/, "");
}

/** The examples of all labels as [field, file name]. */
function exampleFiles() {
  return labelsNow().flatMap((label) => label.examples.map((file) => [`examples.${label.name}`, file.name]));
}

function curl(name) {
  const labels = labelsJson(labelsNow());
  const simple = labels.every((label) => typeof label === "string" && !label.startsWith("["));
  const parts = [`curl -s ${base()}/v1/classify`];
  if (key()) parts.push('-H "Authorization: Bearer $ANYSOUND_KEY"');
  parts.push(`-F ${shell(`audio=@${curlName(name)}`)}`);
  if (asked.labelSet) parts.push(`-F ${shell(`label_set=${asked.labelSet}`)}`);
  else if (simple) parts.push(...labels.map((label) => `--form-string ${shell(`labels=${label}`)}`));
  else parts.push(`--form-string ${shell(`labels=${JSON.stringify(labels)}`)}`);
  for (const [field, file] of exampleFiles()) parts.push(`-F ${shell(`${curlName(field)}=@${curlName(file)}`)}`);
  for (const [field, value] of Object.entries(optionFields())) parts.push(`--form-string ${shell(`${field}=${value}`)}`);
  return parts.join(" \\\n  ");
}

/** curl reads `;` and `,` in a file name as the start of something else, unless it is quoted. */
function curlName(name) {
  return /[;,"\\]/.test(name) ? `"${name.replace(/["\\]/g, "\\$&")}"` : name;
}

function shell(text) {
  return /^[\w@=./:-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

function python(name) {
  const labels = labelsNow();
  const rich = labels.some((label) => typeof labelsJson([label])[0] !== "string" || label.examples.length);
  const rows = labels.map((label) => `        ${pythonLabel(label)},`);
  const options = Object.entries(optionFields()).map(([field, value]) => `${field}=${value === "true" ? "True" : text(value)}`);
  const first = asked.labelSet ? `label_set=${text(asked.labelSet)}` : `[\n${rows.join("\n")}\n    ]`;
  return [
    ...(key() ? ["import os", ""] : []),
    `from anysound_client import Client${rich && !asked.labelSet ? ", Label" : ""}`,
    "",
    `with Client(${text(base())}${key() ? ', os.environ["ANYSOUND_KEY"]' : ""}) as client:`,
    `    answer = client.classify(${[text(name), first, ...options].join(", ")})`,
    "    print(answer.result.best)",
  ].join("\n");
}

function pythonLabel(label) {
  const members = [];
  if (label.prompts.length) members.push(`prompts=${list(label.prompts)}`);
  if (label.negativePrompts.length) members.push(`negative_prompts=${list(label.negativePrompts)}`);
  if (label.examples.length) members.push(`examples=${list(label.examples.map((file) => file.name))}`);
  if (label.threshold !== null) members.push(`threshold=${label.threshold}`);
  return members.length ? `Label(${[text(label.name), ...members].join(", ")})` : text(label.name);
}

function list(values) {
  return `[${values.map(text).join(", ")}]`;
}

/** A string as Python and JavaScript both write it. */
function text(value) {
  return JSON.stringify(value);
}

function javascript() {
  const lines = ["const form = new FormData();", "form.append(\"audio\", file); // a File or a Blob"];
  if (asked.labelSet) lines.push(`form.append("label_set", ${text(asked.labelSet)});`);
  else lines.push(`form.append("labels", JSON.stringify(${JSON.stringify(labelsJson(labelsNow()), null, 1).replace(/\n\s*/g, " ")}));`);
  for (const [field, file] of exampleFiles()) lines.push(`form.append(${text(field)}, example); // ${file.replace(/\s+/g, " ")}`);
  for (const [field, value] of Object.entries(optionFields())) lines.push(`form.append(${text(field)}, ${text(value)});`);
  const headers = key() ? "\n  headers: { Authorization: `Bearer ${key}` }," : "";
  lines.push(`const answer = await fetch(${text(`${base()}/v1/classify`)}, {\n  method: "POST",${headers}\n  body: form,\n});`);
  lines.push("const { results } = await answer.json();", "console.log(results[0].scores[0]);");
  return lines.join("\n");
}
