// The microphone as blocks of mono samples, with none of the processing that is meant for calls.

/** Why this page gets no microphone, in words; "" if it may ask for one. */
export function whyNoMicrophone() {
  if (!isSecureContext)
    return (
      "No microphone here: browsers give it only to pages from https:// or from this machine. " +
      "Serve the page over https, or reach it through localhost (ssh -L). Files work as they are."
    );
  if (!navigator.mediaDevices?.getUserMedia || !globalThis.AudioWorkletNode) return "This browser has no microphone for pages.";
  return "";
}

/** Opens the microphone. `take` gets each block of s16 samples. Throws Error with the reason in words. */
export async function openMicrophone(take) {
  let stream;
  try {
    // These three are on by default, and remove the very sounds that are to be heard.
    stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
  } catch (error) {
    throw new Error(REASONS[error.name] ?? `The microphone cannot be opened (${error.name}).`, { cause: error });
  }
  // The device's own rate: Firefox refuses another. The service resamples.
  const context = new AudioContext();
  try {
    await context.audioWorklet.addModule(new URL("capture_worklet.js", import.meta.url));
    const capture = new AudioWorkletNode(context, "capture");
    capture.port.onmessage = ({ data }) => take(pcm16(data));
    context.createMediaStreamSource(stream).connect(capture).connect(context.destination); // silent: nothing is written out
    await context.resume();
  } catch (error) {
    stop();
    throw error;
  }
  function stop() {
    stream.getTracks().forEach((track) => track.stop());
    context.close();
  }
  return { sampleRate: context.sampleRate, stop };
}

const REASONS = {
  NotAllowedError: "The microphone is blocked. Allow it for this page in the browser's settings.",
  NotFoundError: "There is no microphone on this device.",
  NotReadableError: "The microphone is used by another program.",
};

function pcm16(samples) {
  return Int16Array.from(samples, (sample) => Math.round(Math.min(1, Math.max(-1, sample)) * 32767));
}

/** Samples as a WAV file: blocks of s16, mono. */
export function wavOf(blocks, sampleRate, name) {
  const bytes = blocks.reduce((sum, block) => sum + block.byteLength, 0);
  const header = new DataView(new ArrayBuffer(44));
  const write = (at, text) => [...text].forEach((letter, index) => header.setUint8(at + index, letter.charCodeAt(0)));
  write(0, "RIFF");
  header.setUint32(4, 36 + bytes, true);
  write(8, "WAVEfmt ");
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true);
  header.setUint16(22, 1, true);
  header.setUint32(24, sampleRate, true);
  header.setUint32(28, sampleRate * 2, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  write(36, "data");
  header.setUint32(40, bytes, true);
  return new File([header, ...blocks], name, { type: "audio/wav" });
}

/** A file name with the time of day. */
export function timedName(what) {
  return `${what} ${new Date().toTimeString().slice(0, 8).replaceAll(":", ".")}.wav`;
}
