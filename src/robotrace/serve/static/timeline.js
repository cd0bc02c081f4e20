// Time on the episode's clock, in milliseconds: pure functions, no DOM.

// A frame's start as a link, a frame callback (microseconds) and the table (a rounded product) write it differs in its
// last digits: a time this little before a frame means that frame. No frame lasts less.
export const ROUNDING_MS = 0.002;

/** Index of the last value <= wanted in a sorted array, -1 when there is none. */
export function lastAtOrBefore(sorted, wanted, end = sorted.length) {
  let low = 0;
  let high = end;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle] <= wanted) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/**
 * The instants at which the episode's picture (or, without a video, its main stream) changes.
 *
 * `edges` holds the start of every frame and, last, the end of the last one. Frames are looked up by time, never by
 * a nominal rate: with variable timestamps a rate shows the wrong frame more often than the right one.
 */
export class FrameTable {
  constructor(edges) {
    this.edges = edges;
    this.count = Math.max(0, edges.length - 1);
  }

  get startMs() {
    return this.count ? this.edges[0] : 0;
  }

  get endMs() {
    return this.count ? this.edges[this.count] : 0;
  }

  /** Whether a time is before the first frame. */
  isBefore(timeMs) {
    return timeMs < this.startMs - ROUNDING_MS;
  }

  /** The frame on screen at a time; before the first frame the first, after the last the last. */
  frameAt(timeMs) {
    return Math.max(0, lastAtOrBefore(this.edges, timeMs + ROUNDING_MS, this.count));
  }

  startOf(frame) {
    return this.edges[frame];
  }

  /** Where to seek for a frame: in its middle, where rounding in the player cannot reach a neighbour. */
  middleOf(frame, share = 0.5) {
    return this.edges[frame] + (this.edges[frame + 1] - this.edges[frame]) * share;
  }

  /**
   * The shortest decimal text of a time that still lies in the same frame: what a link carries.
   *
   * @param {FrameTable[]} others that it is to mean the same frame of, too
   */
  linkText(timeMs, others = []) {
    if (!this.count) return String(Math.max(0, Math.round(timeMs)));
    const wanted = [this, ...others].map((table) => [table, table.frameAt(timeMs), table.isBefore(timeMs)]);
    const inside = (value) =>
      value >= 0 &&
      wanted.every(([table, frame, early]) => table.frameAt(value) === frame && table.isBefore(value) === early);
    for (let digits = 0; digits <= 6; digits += 1) {
      const scale = 10 ** digits;
      const nearest = Math.round(timeMs * scale) / scale;
      if (inside(nearest)) return nearest.toFixed(digits);
      const later = Math.ceil(timeMs * scale) / scale;
      if (inside(later)) return later.toFixed(digits);
    }
    return String(timeMs);
  }
}

/** Reads `12840ms`, `12.84s` or `12840` (milliseconds); null for anything else. */
export function parseTime(text) {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(ms|s)?\s*$/.exec(text ?? "");
  if (!match) return null;
  return Number(match[1]) * (match[2] === "s" ? 1000 : 1);
}

/** `12.840` below a minute, `3:12.840` above, `1:03:12.840` above an hour. */
export function formatTime(timeMs, digits = 3) {
  const scale = 10 ** digits;
  const total = Math.round((Math.max(0, timeMs) / 1000) * scale) / scale;
  const hours = Math.floor(total / 3600);
  const minutes = Math.floor((total % 3600) / 60);
  const seconds = (total % 60).toFixed(digits);
  if (!hours && !minutes) return seconds;
  const padded = seconds.padStart(digits ? digits + 3 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${padded}` : `${minutes}:${padded}`;
}

/** At most `most` round instants in a range, and how many digits of a second tell them apart. */
export function timeTicks(startMs, endMs, most) {
  const span = endMs - startMs;
  if (!(span > 0) || most < 1) return { ticks: [], digits: 0 };
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 15000, 30000, 60000];
  let step = steps.find((candidate) => span / candidate <= most);
  for (step ??= 120000; span / step > most; step *= 2);
  const ticks = [];
  for (let index = Math.ceil(startMs / step); index * step <= endMs; index += 1) ticks.push(index * step);
  return { ticks, digits: step >= 1000 ? 0 : step >= 100 ? 1 : step >= 10 ? 2 : 3 };
}
