// What uPlot is told of a chart. Every line has its own times ("mode 2"): streams of several sources share one chart.

/* global uPlot */
import { lastAtOrBefore } from "./timeline.js";

// Fixed for every chart: axes that size themselves would shift the plots against each other, and the cursor with them.
export const AXIS_WIDTH = 56;
export const RIGHT_PADDING = 12;
export const PALETTE_SIZE = 8;
const HEIGHT = { constant: 0, flag: 42, scalar: 84, vector: 128 };
const FLAG_LANE = 18;
const MOST_LANES = 8;
const PLOT_PADDING = 7;
const WIDTH = 1.25;
// A line of more samples than pixels: one of at most a pixel is drawn several times as fast, and looks the same.
const THIN = 1;
// Of a flag's lane: the rest keeps it apart from the next.
const FLAG_FILL = 0.8;
const MOST_MEANINGS = 5;
const AXIS_LETTERS = 8;
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

/** A bound is worth showing where the data comes near it: within once their own span. */
export function withBounds(range, lines) {
  if (!range) return range;
  let [low, high] = range;
  const span = high - low;
  for (const bound of boundsOf(lines)) {
    if (bound.value < low && range[0] - bound.value <= span) low = bound.value;
    if (bound.value > high && bound.value - range[1] <= span) high = bound.value;
  }
  return [low, high];
}

/** The bounds of the lines shown, each value once; the colour of its line where it is that of one alone. */
export function boundsOf(lines) {
  const found = new Map();
  for (const line of lines) {
    const { low, high } = line.layer.overview;
    for (const value of [low[line.column], high[line.column]]) {
      if (!line.shown || value === null || value === undefined) continue;
      found.set(value, found.has(value) && found.get(value) !== line.colour ? null : line.colour);
    }
  }
  return [...found].map(([value, colour]) => ({ value, colour }));
}

export function heightOf({ shape, lines }) {
  const lanes = shape === "flag" ? Math.min(MOST_LANES, lines.length) - 1 : 0;
  return HEIGHT[shape] + lanes * FLAG_LANE;
}

function windowed(build, stack) {
  return (plot, index) => {
    const time = plot.data[index][0];
    const [first, last] = rowsWithin(time, stack.startMs, stack.endMs);
    plot.series[index].width = last - first > stack.plotWidth ? THIN : WIDTH;
    return time.length && first <= last ? build(plot, index, first, last) : null;
  };
}

function drawBounds(plot, lines) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([devicePixelRatio, 3 * devicePixelRatio]);
  for (const { value, colour } of boundsOf(lines)) {
    if (value < plot.scales.y.min || value > plot.scales.y.max) continue;
    ctx.strokeStyle = themeColour(colour === null || lines.length === 1 ? "--ink-3" : `--line-${colour}`);
    const y = Math.round(plot.valToPos(value, "y", true));
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
  }
  ctx.restore();
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

/** The data as uPlot wants it in mode 2; flags lie above each other, a lane each. */
export function plotData({ lines, shape }) {
  const values = (line, index) => {
    const column = line.stream.drawable(line.column);
    if (shape !== "flag") return column;
    const base = lines.length - 1 - index;
    return column.map((value) => base + (value ? FLAG_FILL : 0));
  };
  return [null, ...lines.map((line, index) => [line.stream.time, values(line, index)])];
}

function short(text) {
  return text.length > AXIS_LETTERS ? `${text.slice(0, AXIS_LETTERS - 1)}…` : text;
}

/** What stands at the y axis: true and false, what integers mean, or numbers. */
function yLabels(chart) {
  const { shape, lines, stream } = chart;
  if (shape === "flag") {
    if (lines.length === 1) return { splits: () => [0, FLAG_FILL], values: ["false", "true"] };
    return {
      splits: () => lines.map((_, index) => lines.length - 1 - index + FLAG_FILL / 2),
      values: lines.map((line) => short(line.label)),
    };
  }
  const { meanings } = stream;
  if (meanings && meanings.length <= MOST_MEANINGS && lines.length === 1) {
    const isInView = ({ scales }, value) => value >= scales.y.min && value <= scales.y.max;
    return {
      splits: (plot) => [...meanings.keys()].filter((value) => isInView(plot, value)),
      values: (_plot, splits) => splits.map((value) => short(meanings[value])),
    };
  }
  return { splits: undefined, values: (_plot, splits) => splits.map(axisText) };
}

/**
 * @param {StreamChart} chart with `lines`, `shape`, `stream`, `stack` and `yRange()`
 */
export function plotOptions(chart) {
  const { stack, lines, shape } = chart;
  const flag = shape === "flag";
  const labels = yLabels(chart);
  const [linear, stepped] = [uPlot.paths.linear(), uPlot.paths.stepped({ align: 1 })];
  return {
    mode: 2,
    width: stack.fullWidth,
    height: heightOf(chart),
    padding: [PLOT_PADDING, RIGHT_PADDING, PLOT_PADDING, 0],
    legend: { show: false },
    // The stack has one cursor and one selection for all charts.
    cursor: { show: false },
    scales: {
      x: { time: false, auto: false, range: () => [stack.startMs, stack.endMs] },
      y: { auto: false, range: (_plot, low, high) => (low === null ? chart.yRange() : [low, high]) },
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
        ...labels,
        grid: { stroke: () => themeColour("--grid"), width: 1 },
        ticks: { show: false },
      },
    ],
    series: [
      null,
      ...lines.map((line, index) => ({
        facets: [
          { scale: "x", auto: false, sorted: 1 },
          { scale: "y", auto: false },
        ],
        show: line.shown,
        stroke: () => themeColour(`--line-${line.colour}`),
        fill: flag ? () => `color-mix(in srgb, ${themeColour(`--line-${line.colour}`)} 28%, transparent)` : undefined,
        fillTo: flag ? () => lines.length - 1 - index : undefined,
        width: WIDTH,
        dash: dashOf(line),
        points: { show: false },
        paths: windowed(line.stream.isContinuous ? linear : stepped, stack),
      })),
    ],
    hooks: {
      drawAxes: [(plot) => drawBounds(plot, lines)],
      draw: [(plot) => !flag && drawDots(plot, lines, stack)],
    },
  };
}
