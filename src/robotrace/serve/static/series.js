// The binary answer of series.bin: a JSON header, then float64 times and float32 columns, used in place.

import { lastAtOrBefore } from "./timeline.js";

/**
 * One stream as it was sent: `time` (ms, sorted) and one Float32Array per column. Of one that is `left` there is only
 * the description yet: it did not fit into the answer. `units`, `low` and `high` have an entry for each column, null
 * where nothing is known; `meanings` names the integers from 0 on.
 */
export class Stream {
  constructor(description, time, columns) {
    this.name = description.name;
    this.artifact = description.artifact;
    this.dtype = description.dtype;
    this.shape = description.shape ?? [];
    this.count = description.count;
    this.decimated = Boolean(description.decimated);
    this.left = Boolean(description.left);
    this.endMs = description.end_ms ?? 0;
    this.labels = description.labels;
    this.units = description.units ?? [];
    this.low = description.low ?? [];
    this.high = description.high ?? [];
    this.meanings = description.meanings ?? null;
    this.time = time;
    this.columns = columns;
    this.missing = columns.reduce((total, column) => total + countMissing(column), 0);
  }

  get key() {
    return `${this.artifact}/${this.name}`;
  }

  /** The one unit of all columns, null where they differ or have none. */
  get unit() {
    const [unit] = this.units;
    return unit && this.units.every((other) => other === unit) ? unit : null;
  }

  /** Smallest, largest and last value of each column; the values that are no numbers are left out. */
  get summary() {
    this.summed ??= this.columns.map(summarize);
    return this.summed;
  }

  /** Whether no column ever changes; a single row says nothing of it. */
  get isConstant() {
    return this.time.length > 1 && !this.missing && this.summary.every(({ low, high }) => low === high);
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
    return this.with({ time: this.time.map((time) => time + offsetMs), endMs: this.endMs + offsetMs });
  }

  /** A copy of which some properties are others. */
  with(changes) {
    const copy = Object.create(Object.getPrototypeOf(this), Object.getOwnPropertyDescriptors(this));
    return Object.assign(copy, { drawn: undefined, summed: undefined }, changes);
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

function summarize(column) {
  let [low, high, last] = [Infinity, -Infinity, null];
  for (let row = 0; row < column.length; row += 1) {
    const value = column[row];
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
    last = value;
  }
  return { low, high, last };
}

/** Fetches the streams of a window (all of the episode when none is given), or those of some `names` only. */
export async function fetchSeries(url, { startMs, endMs, names = [] } = {}, signal) {
  const address = new URL(url, location.href);
  if (startMs !== undefined) {
    address.searchParams.set("start_ms", startMs);
    address.searchParams.set("end_ms", endMs);
  }
  for (const name of names) address.searchParams.append("streams", name);
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
  return { streams, texts: header.texts ?? [], skipped: header.skipped ?? [] };
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
