// An error in words, in the element beside what caused it.

export function showFault(element, message, input = null) {
  element.hidden = !message;
  if (element.textContent !== message) element.textContent = message;
  input?.setAttribute("aria-invalid", String(Boolean(message)));
}
