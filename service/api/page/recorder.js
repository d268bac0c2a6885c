// Records the microphone into a recording.

import { announce } from "./announcer.js";
import { showFault } from "./fault.js";
import { openMicrophone, timedName, wavOf, whyNoMicrophone } from "./microphone.js";
import { limits } from "./model.js";
import { clock } from "./numbers.js";
import { addRecordings } from "./recordings.js";

const button = document.querySelector("#record");
const text = document.querySelector("#record-text");
const note = document.querySelector("#microphone-note");
const error = document.querySelector("#source-error");
let finish = null;

export function startRecorder() {
  const reason = whyNoMicrophone();
  note.hidden = reason === "";
  note.textContent = reason;
  button.disabled = reason !== "";
  button.addEventListener("click", () => (finish ? finish() : record()));
}

async function record() {
  showFault(error, "");
  const blocks = [];
  let seconds = 0;
  let microphone;
  button.disabled = true;
  try {
    microphone = await openMicrophone((block) => {
      if (!microphone) return;
      blocks.push(block);
      seconds += block.length / microphone.sampleRate;
      text.textContent = `Stop ${clock(Math.floor(seconds))}`;
      const bytes = seconds * microphone.sampleRate * 2;
      if (seconds >= limits.max_audio_seconds - 1 || bytes >= limits.max_upload_bytes - 10_000) finish?.();
    });
  } catch (problem) {
    showFault(error, problem.message);
    return;
  } finally {
    button.disabled = false;
  }
  button.setAttribute("aria-pressed", "true");
  text.textContent = "Stop 0:00";
  announce("Recording");
  finish = () => {
    finish = null;
    microphone.stop();
    button.setAttribute("aria-pressed", "false");
    text.textContent = "Record";
    if (blocks.length) addRecordings([wavOf(blocks, microphone.sampleRate, timedName("Recording"))]);
  };
}
