// Requests to the service that this page came from. A failure carries the service's own words.

import { key, refuseKey } from "./key.js";

export class Problem extends Error {
  constructor({ code, detail, status = 0, retryAfter = null }) {
    super(detail);
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed after `retryAfter` seconds. */
  get passing() {
    return this.status === 429 || this.status === 503;
  }

  /** The field that the problem is about: "labels" for "labels.3: empty text"; "" if none. */
  get field() {
    return /^([a-z_]+)(\.\d+)*(\.[a-z_]+)*:/.exec(this.message)?.[1] ?? "";
  }
}

export function address(path) {
  return new URL(path, document.baseURI);
}

/** The JSON of an answer. Throws Problem, or AbortError if `options.signal` fired. */
export async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (key()) headers.set("Authorization", `Bearer ${key()}`);
  let answer;
  try {
    answer = await fetch(address(path), { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ code: "unreachable", detail: "The service cannot be reached. Is it still running?" });
  }
  if (answer.ok) return answer.json();
  const problem = await answer.json().catch(() => ({}));
  if (answer.status === 401) refuseKey();
  throw new Problem({
    code: problem.code ?? "unknown",
    detail: problem.detail ?? `The service answered ${answer.status}.`,
    status: answer.status,
    retryAfter: Number(answer.headers.get("Retry-After")) || null,
  });
}
