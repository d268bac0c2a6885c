// What a screen reader says when answers change: once they have been still for a moment.

const STILL_MS = 900;
const element = document.querySelector("#announcer");
let timer;

export function announce(text) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    element.textContent = text;
  }, STILL_MS);
}
