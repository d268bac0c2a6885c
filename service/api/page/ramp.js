// The colours of scores, 0 to 1. Lightness changes evenly in one direction, so that they can be told apart without hue.
// Anchors after YlGnBu of ColorBrewer (Cynthia Brewer, colorbrewer2.org), which is safe for colour-blind readers.

const LIGHT = ["#f2efe6", "#dceccb", "#b4dfbd", "#7fcdbb", "#41b6c4", "#1d91c0", "#225ea8", "#253494", "#0d1f63"];
const DARK = ["#1b2436", "#1f3364", "#22488f", "#2069ac", "#1d91c0", "#41b6c4", "#7fcdbb", "#c7e9b4", "#fdfdd8"];
const STEPS = 64;

const dark = matchMedia("(prefers-color-scheme: dark)");
const tables = { light: table(LIGHT), dark: table(DARK) };

function table(anchors) {
  const rgb = anchors.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return Array.from({ length: STEPS + 1 }, (_, step) => {
    const place = (step / STEPS) * (rgb.length - 1);
    const below = Math.min(Math.floor(place), rgb.length - 2);
    const mixed = rgb[below].map((value, channel) => Math.round(value + (rgb[below + 1][channel] - value) * (place - below)));
    return `rgb(${mixed.join(" ")})`;
  });
}

/** The colour of a score in the theme that is shown. */
export function colourOf(score) {
  return tables[dark.matches ? "dark" : "light"][Math.round(Math.min(1, Math.max(0, score)) * STEPS)];
}

export function onTheme(listener, signal) {
  dark.addEventListener("change", listener, { signal });
}

/** A colour of the stylesheet, for what is drawn on a canvas. */
export function styleColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
