// The API key, if the service wants one. It stays in this tab's session storage.

const NAME = "anysound-key";
const listeners = new Set();
let wanted = false;

export function key() {
  return sessionStorage.getItem(NAME) ?? "";
}

/** Called with `wanted`: whether the service has refused the key, or the lack of one. */
export function onKey(listener) {
  listeners.add(listener);
}

export function refuseKey() {
  set(true);
}

export function useKey(value) {
  sessionStorage.setItem(NAME, value);
  set(false);
}

function set(value) {
  wanted = value;
  for (const listener of listeners) listener(wanted);
}
