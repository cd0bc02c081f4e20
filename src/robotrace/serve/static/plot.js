// What uPlot is told of a chart. Every line has its own times ("mode 2"): streams of several sources share one chart.

/* global uPlot */
import { lastAtOrBefore } from "./timeline.js";

// Fixed for every chart: axes that size themselves would shift the plots against each other, and the cursor with them.
export const AXIS_WIDTH = 56;
export const RIGHT_PADDING = 12;
export const HEIGHT = { flag: 42, scalar: 84, vector: 128 };
export const PALETTE_SIZE = 8;
const PLOT_PADDING = 7;
const AXIS_FONT = "11px system-ui, sans-serif";
const DASHES = [[], [6, 3], [2, 2], [8, 2, 2, 2]];
// Samples this far apart are worth a dot each: one sees what was measured and what is only drawn between.
const PIXELS_PER_DOT = 14;

let colours = new Map();

/** A colour of the theme; asking the browser each time costs more than drawing the line. */
export function themeColour(name) {
  if (!colours.has(name)) colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return colours.get(name);
}

export function forgetColours() {
  colours = new Map();
}

export function dashOf(line) {
  return DASHES[line.dash % DASHES.length];
}

function axisText(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential(0);
  return String(Number(value.toPrecision(4)));
}

/** First and last index of a sorted array that a line through the window needs: one neighbour on each side. */
export function rowsWithin(time, startMs, endMs) {
  const first = Math.max(0, lastAtOrBefore(time, startMs));
  const last = Math.min(time.length - 1, lastAtOrBefore(time, endMs) + 1);
  return [first, last];
}

/** Smallest and largest value that lines show in a window, null when they show none. */
export function extent(lines, startMs, endMs) {
  let low = Infinity;
  let high = -Infinity;
  for (const line of lines) {
    if (!line.shown) continue;
    const { time, columns } = line.stream;
    const column = columns[line.column];
    const [first, last] = rowsWithin(time, startMs, endMs);
    for (let row = first; row <= last; row += 1) {
      const value = column[row];
      if (value < low && value > -Infinity) low = value;
      if (value > high && value < Infinity) high = value;
    }
  }
  return low <= high ? [low, high] : null;
}

/** A y range with air around it; a flat line sits in the middle. */
export function padded(range) {
  if (!range) return [0, 1];
  const [low, high] = range;
  const span = high - low;
  const air = span > 0 ? span * 0.08 : Math.max(Math.abs(high) * 0.1, 0.5);
  return [low - air, high + air];
}

function windowed(build, stack) {
  return (plot, index) => {
    const time = plot.data[index][0];
    const [first, last] = rowsWithin(time, stack.startMs, stack.endMs);
    return time.length && first <= last ? build(plot, index, first, last) : null;
  };
}

function drawDots(plot, lines, stack) {
  const { ctx } = plot;
  lines.forEach((line) => {
    if (!line.shown) return;
    const { time, columns } = line.stream;
    const [first, last] = rowsWithin(time, stack.startMs, stack.endMs);
    if (last - first > stack.plotWidth / PIXELS_PER_DOT) return;
    ctx.fillStyle = themeColour(`--line-${line.colour}`);
    const size = 4 * devicePixelRatio;
    for (let row = first; row <= last; row += 1) {
      const value = columns[line.column][row];
      if (!Number.isFinite(value) || time[row] < stack.startMs || time[row] > stack.endMs) continue;
      const [x, y] = [plot.valToPos(time[row], "x", true), plot.valToPos(value, "y", true)];
      ctx.fillRect(x - size / 2, y - size / 2, size, size);
    }
  });
}

/** The data as uPlot wants it in mode 2. */
export function plotData(lines) {
  return [null, ...lines.map((line) => [line.stream.time, line.stream.drawable(line.column)])];
}

/**
 * @param {StreamChart} chart with `lines`, `shape`, `stack` and `yRange()`
 */
export function plotOptions(chart) {
  const { stack, lines, shape } = chart;
  const flag = shape === "flag";
  const [linear, stepped] = [uPlot.paths.linear(), uPlot.paths.stepped({ align: 1 })];
  return {
    mode: 2,
    width: stack.plotWidth + AXIS_WIDTH + RIGHT_PADDING,
    height: HEIGHT[shape],
    padding: [PLOT_PADDING, RIGHT_PADDING, PLOT_PADDING, 0],
    legend: { show: false },
    // The stack has one cursor and one selection for all charts.
    cursor: { show: false },
    scales: {
      x: { time: false, auto: false, range: () => [stack.startMs, stack.endMs] },
      y: { auto: false, range: () => chart.yRange() },
    },
    axes: [
      {
        size: 0,
        splits: () => stack.ticks.ticks,
        values: (_plot, splits) => splits.map(() => ""),
        grid: { stroke: () => themeColour("--grid"), width: 1 },
        ticks: { show: false },
      },
      {
        size: AXIS_WIDTH,
        space: shape === "vector" ? 28 : 22,
        gap: 4,
        font: AXIS_FONT,
        stroke: () => themeColour("--ink-3"),
        splits: flag ? () => [0, 1] : undefined,
        values: (_plot, splits) => splits.map(flag ? (value) => (value ? "true" : "false") : axisText),
        grid: { stroke: () => themeColour("--grid"), width: 1 },
        ticks: { show: false },
      },
    ],
    series: [
      null,
      ...lines.map((line) => ({
        facets: [
          { scale: "x", auto: false, sorted: 1 },
          { scale: "y", auto: false },
        ],
        show: line.shown,
        stroke: () => themeColour(`--line-${line.colour}`),
        width: 1.25,
        dash: dashOf(line),
        points: { show: false },
        paths: windowed(line.stream.isContinuous ? linear : stepped, stack),
      })),
    ],
    hooks: { draw: [(plot) => drawDots(plot, lines, stack)] },
  };
}
