// One chart: a head with a legend that reads the values under the cursor, and a plot that is there while it is near.

/* global uPlot */
import { element } from "./dom.js";
import { Legend } from "./legend.js";
import { HEIGHT, PALETTE_SIZE, extent, padded, plotData, plotOptions } from "./plot.js";

/**
 * Draws the streams of `layers`, `[{ stream, label, source }]`, over each other: one of an episode, or the same one of several,
 * or a command and what was measured. Columns of the same index share a colour; the layers differ by their dashes.
 */
export class StreamChart {
  constructor(stack, { key, name, layers }) {
    this.stack = stack;
    this.key = key;
    this.name = name;
    this.plot = null;
    this.layers = [];
    this.root = element("article", "chart");
    this.root.dataset.stream = name;
    this.root.dataset.key = key;
    this.head = element("header", "chart-head");
    this.place = element("div", "plot");
    this.place.tabIndex = 0;
    this.root.append(this.head, this.place);
    this.setLayers(layers);
  }

  get stream() {
    return this.layers[0].overview;
  }

  setLayers(layers) {
    const drawn = Boolean(this.plot);
    this.leave();
    this.layers = layers.map((layer) => ({ ...layer, overview: layer.stream }));
    const { stream } = this;
    this.shape = stream.isFlag ? "flag" : stream.columns.length > 1 || layers.length > 1 ? "vector" : "scalar";
    this.root.className = `chart ${this.shape}`;
    this.place.style.height = `${HEIGHT[this.shape]}px`;
    this.lines = this.layers.flatMap((layer, number) => linesOf(layer, number, this.layers.length));
    this.legend = new Legend(this.layers, this.lines, (line) => this.#shownChanged(line));
    this.#fillHead();
    if (drawn) this.enter();
  }

  /** Comes near the screen: from here on there is a plot. */
  enter() {
    if (this.plot) return;
    this.plot = new uPlot(plotOptions(this), plotData(this.lines), this.place);
  }

  /** Leaves it: hundreds of canvases would take gigabytes. */
  leave() {
    this.plot?.destroy();
    this.plot = null;
  }

  draw() {
    this.plot?.setScale("x", { min: this.stack.startMs, max: this.stack.endMs });
  }

  resize() {
    this.plot?.setSize({ width: this.stack.fullWidth, height: HEIGHT[this.shape] });
  }

  recolour() {
    this.plot?.redraw(false, true);
  }

  yRange() {
    if (this.shape === "flag") return [-0.15, 1.15];
    const [startMs, endMs] = this.stack.lockedWindow ?? [this.stack.startMs, this.stack.endMs];
    return padded(extent(this.lines, startMs, endMs));
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
    if (changed) this.plot?.setData(plotData(this.lines), true);
  }

  showValues(timeMs) {
    this.legend.show(timeMs);
  }

  #shownChanged(line) {
    this.plot?.setSeries(this.lines.indexOf(line) + 1, { show: line.shown });
    this.draw();
  }

  #fillHead() {
    const { stream } = this;
    const name = element("h3", "chart-name", this.name);
    name.title = `${stream.artifact}.npz · ${stream.dtype} · ${stream.count} × [${stream.shape.join(", ")}]`;
    this.head.replaceChildren(name);
    if (stream.missing) {
      const badge = element("span", "badge warn", stream.decimated ? "gaps" : `${stream.missing} not a number`);
      badge.title = "Values that are NaN or infinite leave a gap in the line";
      this.head.append(badge);
    }
    this.head.append(this.legend.root);
    this.place.setAttribute("aria-label", this.name);
    this.place.setAttribute("role", "img");
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
    colour: (layers > 1 && columns.length === 1 ? number : column) % PALETTE_SIZE,
    dash: layers > 1 ? number : Math.floor(column / PALETTE_SIZE),
    shown: true,
  }));
}
