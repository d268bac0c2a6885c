// The waveform of a recording that the browser can decode: drawn, played, searched, with events as regions.

import { onTheme, styleColour } from "./ramp.js";
import Regions from "./wavesurfer/regions.esm.js";
import WaveSurfer from "./wavesurfer/wavesurfer.esm.js";

const HEIGHT = 88; // the page's policy holds the hash of wavesurfer's style at this height

export class Waveform {
  /** `on` has time(seconds), playing(boolean), regionMoved(id, start, end) and regionChosen(id). */
  constructor(container, on, signal) {
    this.regions = Regions.create();
    this.player = WaveSurfer.create({
      container,
      height: HEIGHT,
      barWidth: 2,
      barGap: 1.5,
      barRadius: 2,
      cursorWidth: 0,
      normalize: true,
      hideScrollbar: true,
      dragToSeek: true,
      plugins: [this.regions],
      ...colours(),
    });
    this.player.on("timeupdate", (seconds) => on.time(seconds));
    this.player.on("play", () => on.playing(true));
    this.player.on("pause", () => on.playing(false));
    this.regions.on("region-updated", (region) => on.regionMoved(region.id, region.start, region.end));
    this.regions.on("region-clicked", (region, event) => {
      event.stopPropagation();
      on.regionChosen(region.id);
    });
    onTheme(() => this.player.setOptions(colours()), signal);
    signal.addEventListener("abort", () => this.player.destroy());
  }

  /** Decode and draw. Gives the duration in seconds; throws if the browser cannot decode the recording. */
  async load(file) {
    const failed = new Promise((_, reject) => this.player.once("error", reject));
    failed.catch(() => {}); // an error after loading
    await Promise.race([this.player.loadBlob(file), failed]); // the first alone would wait forever for what cannot be played
    return this.player.getDuration();
  }

  toggle() {
    return this.player.playPause();
  }

  seek(seconds) {
    this.player.setTime(Math.min(Math.max(0, seconds), this.player.getDuration()));
  }

  get seconds() {
    return this.player.getCurrentTime();
  }

  /** Show events [{id, label, start_s, end_s}] as regions. */
  showRegions(events) {
    const known = new Map(this.regions.getRegions().map((region) => [region.id, region]));
    for (const event of events) {
      const region = known.get(event.id);
      known.delete(event.id);
      const place = { start: event.start_s, end: event.end_s, content: tag(event.label) };
      if (!region) this.regions.addRegion({ id: event.id, ...place, color: styleColour("--region"), minLength: 0.02 });
      else if (region.start !== place.start || region.end !== place.end || region.content?.textContent !== event.label)
        region.setOptions(place);
    }
    for (const region of known.values()) region.remove();
  }
}

/** The text on a region. It lies in wavesurfer's shadow root, where the stylesheet does not reach. */
function tag(label) {
  const element = document.createElement("span");
  element.textContent = label;
  Object.assign(element.style, {
    fontSize: "11px",
    lineHeight: "14px",
    padding: "0 4px",
    display: "block",
    overflow: "hidden",
    whiteSpace: "nowrap",
    textOverflow: "ellipsis",
    maxWidth: "100%",
    boxSizing: "border-box",
  });
  return element;
}

function colours() {
  return { waveColor: styleColour("--wave"), progressColor: styleColour("--accent") };
}
