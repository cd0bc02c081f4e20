// One stream as one uPlot chart with a small legend that reads the values under the cursor.

/* global uPlot */
import { formatValue } from "./series.js";

// Fixed for every chart: axes that size themselves would shift the plots against each other, and the cursor with them.
export const AXIS_WIDTH = 56;
export const RIGHT_PADDING = 12;
const PLOT_PADDING = 7;
const HEIGHT = { flag: 42, scalar: 84, vector: 128 };
const PALETTE_SIZE = 8;
const LEGEND_ENTRIES = 10;
const AXIS_FONT = "11px system-ui, sans-serif";
const DASHES = [[], [6, 3], [2, 2], [8, 2, 2, 2]];

function themeColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function axisText(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential(0);
  return String(Number(value.toPrecision(4)));
}

/** A column uPlot can draw: gaps are null, and only a column that has some pays for the copy. */
function drawable(column) {
  if (column.every(Number.isFinite)) return column;
  return Array.from(column, (value) => (Number.isFinite(value) ? value : null));
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export class StreamChart {
  constructor(parent, stream, stack) {
    this.overview = stream;
    this.stream = stream;
    this.stack = stack;
    this.key = stream.artifact + stream.name;
    this.shape = stream.isFlag ? "flag" : stream.columns.length > 1 ? "vector" : "scalar";
    this.root = element("article", `chart ${this.shape}`);
    this.root.dataset.stream = stream.name;
    const plot = element("div", "plot");
    this.root.append(this.#header(), plot);
    parent.append(this.root);
    this.plot = new uPlot(this.#options(), this.#data(), plot);
    this.#listen();
  }

  setRange(min, max) {
    this.plot.setScale("x", { min, max });
  }

  setVisible(visible) {
    this.root.hidden = !visible;
  }

  resize() {
    this.plot.setSize({ width: this.#width(), height: HEIGHT[this.shape] });
  }

  recolour() {
    this.plot.redraw(false, true);
  }

  useDetail(stream) {
    if (stream?.time.length) this.#use(stream);
  }

  useOverview() {
    if (this.stream !== this.overview) this.#use(this.overview);
  }

  showValues(timeMs) {
    const { time } = this.stream;
    // A window's answer ends one sample beyond the window; the cursor may stand anywhere.
    const inside = time.length && timeMs >= time[0] && timeMs <= time[time.length - 1];
    const source = inside ? this.stream : this.overview;
    // Of a thinned-out stream only the extremes of its neighbourhood are here.
    const row = source.decimated ? Math.max(0, source.rowAt(timeMs)) : source.rowAt(timeMs);
    this.values.forEach((target, index) => {
      const value = row < 0 ? undefined : source.columns[index][row];
      const text = `${source.decimated ? "≈" : ""}${source.isFlag && value !== undefined ? value !== 0 : formatValue(value)}`;
      if (target.textContent !== text) target.textContent = text;
    });
  }

  #use(stream) {
    this.stream = stream;
    this.plot.setData(this.#data(), false);
    this.plot.setScale("x", { min: this.stack.startMs, max: this.stack.endMs });
  }

  #data() {
    return [this.stream.time, ...this.stream.columns.map(drawable)];
  }

  #width() {
    return this.stack.plotWidth + AXIS_WIDTH + RIGHT_PADDING;
  }

  #options() {
    const { stream, stack } = this;
    const paths = stream.isContinuous ? undefined : uPlot.paths.stepped({ align: 1 });
    const flag = stream.isFlag;
    return {
      width: this.#width(),
      height: HEIGHT[this.shape],
      padding: [PLOT_PADDING, RIGHT_PADDING, PLOT_PADDING, 0],
      legend: { show: false },
      cursor: {
        x: false,
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false, dist: 5 },
        bind: { dblclick: () => () => stack.resetZoom() },
      },
      scales: {
        x: { time: false, range: () => [stack.startMs, stack.endMs] },
        y: { range: (_plot, low, high) => (flag ? [-0.15, 1.15] : padded(low, high)) },
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
          space: this.shape === "vector" ? 28 : 22,
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
        {},
        ...stream.columns.map((_, index) => ({
          stroke: () => themeColour(`--line-${index % PALETTE_SIZE}`),
          width: 1.25,
          dash: DASHES[Math.floor(index / PALETTE_SIZE) % DASHES.length],
          points: { show: stream.count === 1, size: 5 },
          paths,
        })),
      ],
      hooks: { setSelect: [(plot) => this.#zoomToSelection(plot)] },
    };
  }

  #zoomToSelection(plot) {
    const { left, width } = plot.select;
    if (width <= 0) return;
    const [start, end] = [this.stack.timeAtPixel(left), this.stack.timeAtPixel(left + width)];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.stack.zoomTo(start, end);
  }

  #listen() {
    const { over } = this.plot;
    const x = (event) => event.clientX - over.getBoundingClientRect().left;
    over.addEventListener("click", (event) => this.stack.onSeek(this.stack.timeAtPixel(x(event))));
    over.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse") this.stack.pointAt(x(event));
    });
    over.addEventListener("pointerleave", () => this.stack.pointAt(null));
    over.addEventListener("wheel", (event) => this.stack.wheel(event, x(event)), { passive: false });
  }

  #header() {
    const { stream } = this;
    const header = element("header", "chart-head");
    const name = element("h3", "chart-name", stream.name);
    name.title = `${stream.artifact}.npz · ${stream.dtype} · ${stream.count} × [${stream.shape.join(", ")}]`;
    header.append(name);
    if (stream.missing) {
      const badge = element("span", "badge warn", stream.decimated ? "gaps" : `${stream.missing} not a number`);
      badge.title = "Values that are NaN or infinite leave a gap in the line";
      header.append(badge);
    }
    header.append(this.#legend());
    return header;
  }

  #legend() {
    const legend = element("div", "legend");
    const single = this.stream.columns.length === 1;
    this.values = this.stream.labels.map((label, index) => {
      const entry = element(single ? "span" : "button", "legend-entry");
      const dash = Math.floor(index / PALETTE_SIZE) % DASHES.length;
      entry.append(element("i", `swatch line-${index % PALETTE_SIZE}${dash ? " dashed" : ""}`));
      if (!single) {
        entry.type = "button";
        entry.setAttribute("aria-pressed", "true");
        entry.title = "Show or hide this line";
        entry.append(element("span", "legend-label", label));
        entry.addEventListener("click", () => this.#toggle(entry, index));
      }
      const value = element("span", "legend-value", "–");
      entry.append(value);
      entry.hidden = index >= LEGEND_ENTRIES;
      legend.append(entry);
      return value;
    });
    const rest = this.stream.columns.length - LEGEND_ENTRIES;
    if (rest > 0) {
      const more = element("button", "legend-more", `+${rest}`);
      more.type = "button";
      more.title = "Name the other lines too";
      more.addEventListener("click", () => {
        for (const entry of legend.children) entry.hidden = entry === more;
      });
      legend.append(more);
    }
    return legend;
  }

  #toggle(entry, index) {
    const show = entry.getAttribute("aria-pressed") !== "true";
    entry.setAttribute("aria-pressed", String(show));
    this.plot.setSeries(index + 1, { show });
  }
}

/** A y range with air around it; a flat line sits in the middle. */
function padded(low, high) {
  if (low === null || high === null) return [0, 1];
  const span = high - low;
  const air = span > 0 ? span * 0.08 : Math.max(Math.abs(high) * 0.1, 0.5);
  return [low - air, high + air];
}
