// One stream minus another, on the first one's times: pure functions, no DOM.

import { lastAtOrBefore } from "./timeline.js";

/** The value of a column at a time: between two samples of what moves, held of what jumps; NaN outside. */
export function valueBetween(stream, column, timeMs) {
  const { time } = stream;
  const values = stream.columns[column];
  const row = lastAtOrBefore(time, timeMs);
  if (row < 0) return NaN;
  const next = row + 1;
  if (next >= time.length) return time[row] === timeMs || !stream.isContinuous ? values[row] : NaN;
  if (!stream.isContinuous || time[next] === time[row]) return values[row];
  const share = (timeMs - time[row]) / (time[next] - time[row]);
  return share === 0 ? values[row] : values[row] + (values[next] - values[row]) * share;
}

/** `a - b`, column by column, as many as both have. */
export function subtract(a, b) {
  const count = Math.min(a.columns.length, b.columns.length);
  return Array.from({ length: count }, (_, column) => {
    const values = new Float32Array(a.time.length);
    for (let row = 0; row < values.length; row += 1) {
      values[row] = a.columns[column][row] - valueBetween(b, column, a.time[row]);
    }
    return values;
  });
}
