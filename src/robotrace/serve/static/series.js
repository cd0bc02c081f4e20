// The binary answer of series.bin: a JSON header, then float64 times and float32 columns, used in place.

import { lastAtOrBefore } from "./timeline.js";

/**
 * One stream as it was sent: `time` (ms, sorted) and one Float32Array per column.
 */
class Stream {
  constructor(description, time, columns) {
    Object.assign(this, { name: description.name, artifact: description.artifact, dtype: description.dtype });
    this.shape = description.shape ?? [];
    this.count = description.count;
    this.decimated = Boolean(description.decimated);
    this.labels = description.labels;
    this.time = time;
    this.columns = columns;
    this.missing = columns.reduce((total, column) => total + countMissing(column), 0);
  }

  /** Values are held until the next one: false for streams that jump rather than move. */
  get isContinuous() {
    return this.dtype.startsWith("float");
  }

  get isFlag() {
    return this.dtype === "bool";
  }

  /** A column as a chart can draw it: gaps are null, and only a column that has some pays for the copy. */
  drawable(index) {
    this.drawn ??= [];
    const column = this.columns[index];
    this.drawn[index] ??= countMissing(column)
      ? Array.from(column, (value) => (Number.isFinite(value) ? value : null))
      : column;
    return this.drawn[index];
  }

  /** The same stream on a clock that is `offsetMs` ahead. */
  shifted(offsetMs) {
    if (!offsetMs) return this;
    const moved = Object.create(Object.getPrototypeOf(this), Object.getOwnPropertyDescriptors(this));
    moved.time = this.time.map((time) => time + offsetMs);
    return moved;
  }

  /** The row in force at a time, -1 before the first. */
  rowAt(timeMs) {
    return lastAtOrBefore(this.time, timeMs);
  }
}

function countMissing(column) {
  let missing = 0;
  for (let index = 0; index < column.length; index += 1) if (!Number.isFinite(column[index])) missing += 1;
  return missing;
}

/** Fetches the streams of a window (all of the episode when none is given). */
export async function fetchSeries(url, window, signal) {
  const address = new URL(url, location.href);
  if (window) {
    address.searchParams.set("start_ms", window.startMs);
    address.searchParams.set("end_ms", window.endMs);
  }
  const answer = await fetch(address, { signal });
  if (!answer.ok) {
    const body = await answer.json().catch(() => ({}));
    throw new Error(body.error ?? `HTTP ${answer.status}`);
  }
  return parseSeries(await answer.arrayBuffer());
}

export function parseSeries(buffer) {
  const headerLength = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, headerLength)));
  const payload = 4 + headerLength;
  const streams = header.streams.map((description) => {
    const rows = description.rows;
    const time = new Float64Array(buffer, payload + description.time_offset, rows);
    const columns = description.labels.map(
      (_, index) => new Float32Array(buffer, payload + description.values_offset + index * rows * 4, rows),
    );
    return new Stream(description, time, columns);
  });
  return { streams, skipped: header.skipped ?? [] };
}

/** Four significant digits, without the noise of trailing zeros. */
export function formatValue(value) {
  if (value === undefined || value === null) return "–";
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value)) return Math.abs(value) < 1e7 ? String(value) : value.toExponential(3);
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2);
  return value.toFixed(Math.max(0, 3 - Math.floor(Math.log10(Math.max(size, 0.1)))));
}
