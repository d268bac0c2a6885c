// Numbers as people read them.

export function percent(score) {
  const value = score * 100;
  if (value > 0 && value < 1) return "<1\u202f%";
  return `${value > 99 && value < 100 ? Math.floor(value) : Math.round(value)}\u202f%`;
}

/** Seconds as 0.48 s, 12.3 s or 3:05. */
export function duration(seconds) {
  if (seconds < 60) return `${trimmed(seconds, seconds < 10 ? 2 : 1)}\u202fs`;
  return clock(seconds);
}

export function clock(seconds) {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export function trimmed(value, digits) {
  return String(Number(value.toFixed(digits)));
}

export function megabytes(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${trimmed(bytes / 1e6, 1)} MB`;
}

/** Round times for an axis over `seconds`, about `count` of them. */
export function ticks(seconds, count) {
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300];
  const step = steps.find((each) => seconds / each <= count) ?? 600;
  return Array.from({ length: Math.floor(seconds / step + 1e-9) + 1 }, (_, index) => index * step);
}
