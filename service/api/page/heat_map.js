// One row of the heat map: a label's scores over time.

import { colourOf } from "./ramp.js";

/** Times at which the colour changes from one window to the next: [0, …, duration], one more than windows.
 *  Windows overlap, so each colours what is nearer to its middle than to its neighbours'. */
export function borders(timeline, durationS) {
  const middles = timeline.map((window) => (window.start_s + window.end_s) / 2);
  const between = middles.slice(1).map((middle, index) => (middles[index] + middle) / 2);
  return [0, ...between, durationS];
}

/** Draw scores [windows] between their borders, in seconds, over [fromS, toS]. */
export function drawLane(canvas, scores, edges, fromS, toS) {
  const context = fitted(canvas);
  const scale = canvas.width / (toS - fromS);
  for (let index = 0; index < scores.length; index += 1) {
    const left = Math.round((edges[index] - fromS) * scale);
    const right = Math.round((edges[index + 1] - fromS) * scale);
    context.fillStyle = colourOf(scores[index]);
    context.fillRect(left, 0, Math.max(1, right - left), canvas.height);
  }
}

/** An empty drawing context that has as many pixels as the screen shows of the canvas. */
export function fitted(canvas) {
  const ratio = devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  return context;
}

export function drawRamp(canvas) {
  const context = fitted(canvas);
  for (let x = 0; x < canvas.width; x += 1) {
    context.fillStyle = colourOf(x / (canvas.width - 1));
    context.fillRect(x, 0, 1, canvas.height);
  }
}
