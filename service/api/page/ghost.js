// The drawing in the empty place of the answers: a waveform over three lanes.

const SVG = "http://www.w3.org/2000/svg";

export function drawGhost() {
  const picture = document.querySelector("#ghost");
  const bars = 80;
  for (let index = 0; index < bars; index += 1) {
    const place = index / bars;
    const sound = Math.exp(-(((place - 0.22) / 0.07) ** 2)) + 0.8 * Math.exp(-(((place - 0.55) / 0.1) ** 2)) + 0.6 * Math.exp(-(((place - 0.85) / 0.05) ** 2));
    const height = 4 + 88 * sound * (0.55 + 0.45 * Math.abs(Math.sin(index * 2.7)));
    picture.append(box(index * 8 + 2, 55 - height / 2, 4, height, "ghost-bar", 1));
  }
  [0.22, 0.55, 0.85].forEach((middle, lane) => {
    for (let cell = 0; cell < 20; cell += 1) {
      const strength = Math.exp(-((((cell + 0.5) / 20 - middle) / 0.1) ** 2));
      picture.append(box(cell * 32 + 1, 130 + lane * 38, 30, 26, "ghost-cell", 0.05 + 0.5 * strength));
    }
  });
}

function box(x, y, width, height, className, opacity) {
  const element = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries({ x, y, width, height, rx: 2, class: className, opacity })) element.setAttribute(name, value);
  return element;
}
