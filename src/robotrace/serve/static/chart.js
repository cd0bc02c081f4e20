// One chart: a head with a legend that reads the values under the cursor, and a plot that is there while it is near.

/* global uPlot */
import { subtract } from "./difference.js";
import { element } from "./dom.js";
import { ChartHead } from "./head.js";
import { Legend, namedValue } from "./legend.js";
import { PALETTE_SIZE, extent, heightOf, padded, plotData, plotOptions, withBounds } from "./plot.js";
import { formatValue } from "./series.js";

const SUMMARIZED_LINES = 4;

/**
 * Draws the streams of `layers`, `[{ stream, label, source }]`, over each other: one of an episode, the same one of
 * several, or a command and what was measured. Columns of the same index share a colour; the layers differ by their
 * dashes. `own` of the layers are the chart's own, the others were laid over it.
 */
export class StreamChart {
  constructor(stack, { key, name, layers }) {
    this.stack = stack;
    this.key = key;
    this.name = name;
    this.own = layers;
    this.over = [];
    this.showsDifference = false;
    this.plot = null;
    this.root = element("article", "chart");
    this.root.dataset.stream = name;
    this.place = element("div", "plot");
    this.head = new ChartHead(this);
    this.root.append(this.head.root, this.place);
    this.refresh();
  }

  get stream() {
    return this.own[0].stream;
  }

  get isFlag() {
    return this.stream.isFlag;
  }

  get labels() {
    return this.stream.labels;
  }

  /** Streams that are described, but were not sent yet. */
  get left() {
    return [...this.own, ...this.over].filter((layer) => layer.stream.left);
  }

  /** Whether there is more to see of it than was sent. */
  get isThinned() {
    return this.layers.some((layer) => layer.overview.decimated);
  }

  /** Whether a difference would be one of like and like; units that nobody said are no reason against it. */
  get canDiffer() {
    if (this.own.length !== 1 || this.over.length !== 1) return false;
    // Extremes of buckets are not of the same moments.
    if (this.stream.decimated || this.over[0].stream.decimated) return false;
    const [a, b] = [this.stream.units.join(), this.over[0].stream.units.join()];
    return !a || !b || a === b;
  }

  /** Lay the streams of other charts over this one's; none for its own alone. */
  setOverlays(charts) {
    this.overlays = charts.map((chart) => chart.name);
    this.over = charts.flatMap((chart) =>
      chart.own.map((layer) => ({ ...layer, label: [layer.label, chart.name].filter(Boolean).join(" "), of: chart })),
    );
    this.refresh();
  }

  setDifference(on) {
    this.showsDifference = on;
    this.refresh();
  }

  /** Builds what depends on the layers anew. */
  refresh() {
    const drawn = Boolean(this.plot);
    if (!this.canDiffer) this.showsDifference = false;
    this.leave();
    this.layers = this.#layersNow();
    const lines = Math.max(...this.layers.map((layer) => layer.stream.columns.length));
    const isConstant = this.layers.every((layer) => layer.stream.isConstant);
    const isFlag = this.layers.every((layer) => layer.stream.isFlag);
    this.shape = isConstant && !this.over.length ? "constant" : isFlag ? "flag" : "scalar";
    if (this.shape === "scalar" && (lines > 1 || this.layers.length > 1)) this.shape = "vector";
    this.root.dataset.shape = this.shape;
    this.lines = this.layers.flatMap((layer, number) => linesOf(layer, number, this.layers.length));
    this.place.hidden = this.shape === "constant";
    this.place.style.height = `${heightOf(this)}px`;
    this.legend = new Legend(this.layers, this.lines, {
      onToggle: (line) => this.#shownChanged(line),
      onRemove: (layer) => this.stack.list.setOverlays(this, this.overlays.filter((name) => name !== layer.of.name)),
    });
    this.head.fill();
    this.#describe();
    if (drawn) this.enter();
  }

  /** Comes near the screen: from here on there is a plot. */
  enter() {
    this.isNear = true;
    if (this.plot || this.shape === "constant" || this.left.length) return;
    this.plot = new uPlot(plotOptions(this), plotData(this), this.place);
  }

  /** Leaves it: hundreds of canvases would take gigabytes. */
  leave() {
    this.plot?.destroy();
    this.plot = null;
  }

  /** Draw the window the stack shows now; the y axis fits what is in it. */
  draw() {
    const { plot, stack } = this;
    if (!plot) return;
    const [min, max] = this.yRange();
    plot.batch(() => {
      plot.setScale("x", { min: stack.startMs, max: stack.endMs });
      plot.setScale("y", { min, max });
    });
  }

  resize() {
    this.plot?.setSize({ width: this.stack.fullWidth, height: heightOf(this) });
  }

  recolour() {
    this.plot?.redraw(false, true);
  }

  yRange() {
    if (this.shape === "flag") return [-0.15, this.lines.length + 0.1];
    const [startMs, endMs] = this.stack.lockedWindow ?? [this.stack.startMs, this.stack.endMs];
    return padded(withBounds(extent(this.lines, startMs, endMs), this.lines));
  }

  /** Draw the points of a closer look, where `find(layer)` has one; the overview where it has none. */
  useDetail(find) {
    let changed = false;
    for (const layer of this.layers) {
      const found = find(layer);
      const stream = found?.time.length ? found : layer.overview;
      changed ||= stream !== layer.stream;
      layer.stream = stream;
    }
    if (!changed || !this.plot) return;
    this.plot.setData(plotData(this), false);
    this.draw();
  }

  showValues(timeMs) {
    this.legend.show(timeMs);
  }

  /** The time of the sample `by` samples from the one in force. */
  sampleFrom(timeMs, by) {
    const { stream } = this.layers[0];
    const row = Math.min(stream.time.length - 1, Math.max(0, stream.rowAt(timeMs) + by));
    return stream.time[row];
  }

  #layersNow() {
    const layers = [...this.own, ...this.over].map((layer) => ({
      ...layer,
      label: layer.label ?? (this.over.length ? this.name : null),
      overview: layer.stream,
      removable: Boolean(layer.of),
    }));
    if (!this.showsDifference || layers.some((layer) => layer.stream.left)) return layers;
    const [a, b] = [this.own[0].stream, this.over[0].stream];
    const columns = subtract(a, b);
    const labels = a.labels.slice(0, columns.length);
    const stream = a.with({ columns, labels, dtype: "float32", low: [], high: [], meanings: null });
    return [{ stream, overview: stream, label: `${this.name} − ${this.over[0].label}`, source: null }];
  }

  #shownChanged(line) {
    this.plot?.setSeries(this.lines.indexOf(line) + 1, { show: line.shown });
    this.draw();
  }

  /** What a screen reader says of the plot: its lines with their smallest, largest and last value. */
  #describe() {
    const said = this.lines.slice(0, SUMMARIZED_LINES).map((line) => {
      const { stream } = line;
      const { low, high, last } = stream.summary[line.column] ?? {};
      const unit = stream.units[line.column] ? ` ${stream.units[line.column]}` : "";
      const name = this.lines.length > 1 ? `${line.label}: ` : "";
      if (last === null || last === undefined) return `${name}no values`;
      return `${name}${formatValue(low)} to ${formatValue(high)}, last ${namedValue(stream, last)}${unit}`;
    });
    const rest = this.lines.length - said.length;
    if (rest > 0) said.push(`and ${rest} more`);
    this.place.setAttribute("role", "img");
    this.place.tabIndex = 0;
    this.place.setAttribute("aria-label", `${this.name}. ${said.join("; ")}`);
  }
}

/** What a layer draws: a line for each column. */
function linesOf(layer, number, layers) {
  const { labels, columns } = layer.overview;
  return columns.map((_, column) => ({
    get stream() {
      return layer.stream;
    },
    layer,
    column,
    label: labels[column],
    isNamed: !/^[\d,]*$/.test(labels[column]),
    colour: (layer.source?.colour ?? (layers > 1 && columns.length === 1 ? number : column)) % PALETTE_SIZE,
    dash: layers > 1 ? number : Math.floor(column / PALETTE_SIZE),
    shown: true,
  }));
}
