// Events as files: CSV, JSON, and the label track of Audacity (start, end, text).

export const FORMATS = {
  csv: { type: "text/csv", suffix: ".csv", write: csv },
  json: { type: "application/json", suffix: ".json", write: json },
  audacity: { type: "text/plain", suffix: ".txt", write: audacity },
};

function csv(name, events) {
  const rows = events.map((event) => [name, event.label, event.start_s, event.end_s, event.score ?? ""]);
  return [["recording", "label", "start_s", "end_s", "score"], ...rows].map((row) => row.map(quoted).join(",") + "\r\n").join("");
}

/** A field of RFC 4180. A spreadsheet would run a text that begins like a formula, so such a text gets an apostrophe. */
function quoted(value) {
  let text = String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function json(name, events) {
  const rows = events.map(({ label, start_s, end_s, score }) => ({ label, start_s, end_s, ...(score === null ? {} : { score }) }));
  return `${JSON.stringify({ name, events: rows }, null, 2)}\n`;
}

function audacity(_, events) {
  return events
    .map((event) => `${event.start_s.toFixed(6)}\t${event.end_s.toFixed(6)}\t${event.label.replace(/\s+/g, " ")}\n`)
    .join("");
}

export function save(name, format, events) {
  const { type, suffix, write } = FORMATS[format];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([write(name, events)], { type }));
  link.download = name.replace(/\.[^.]*$/, "") + suffix;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
