// The stacked stream charts: one x range, one cursor that is moved and never drawn.

import { StreamChart } from "./chart.js";
import { button, element } from "./dom.js";
import { Gestures } from "./gestures.js";
import { AXIS_WIDTH, RIGHT_PADDING, forgetColours } from "./plot.js";
import { Ruler } from "./ruler.js";
import { fetchSeries } from "./series.js";
import { timeTicks } from "./timeline.js";

const REFETCH_DELAY_MS = 120;
const SHORTEST_WINDOW_MS = 5;
const PIXELS_PER_TICK = 84;
const STREAMS_BEFORE_FILTER = 8;
const NEAR_PIXELS = 400;
// What an engineer looks at first comes first; the rest stays in the order it was recorded.
const LEADING = ["observation", "action", "reward"];

function rank(stream) {
  const index = LEADING.findIndex((name) => stream.name === name || stream.name.startsWith(`${name}.`));
  return (index < 0 ? LEADING.length : index) + (stream.isFlag ? LEADING.length : 0);
}

const keyOf = (stream) => `${stream.artifact}/${stream.name}`;

/**
 * Owns the charts, their common x range and the cursor above them; everything it shows is made inside `root`.
 *
 * @param {HTMLElement} root an empty element
 * @param {object} options
 * @param {object} options.series what `fetchSeries` answered, and
 * @param {string} options.seriesUrl from where: of one episode
 * @param {object[]} options.sources instead of the two, of several: `[{ label, series, seriesUrl, offsetMs }]`. Streams
 *   of the same name share a chart; `offsetMs` is added to that source's times
 * @param {number} options.totalMs how long the episode is
 * @param {function} options.onSeek called with the time in ms at which the reader points
 */
export class ChartStack {
  constructor(root, { series, seriesUrl, sources, totalMs, onSeek }) {
    this.root = root;
    this.totalMs = totalMs;
    this.onSeek = onSeek;
    this.startMs = 0;
    this.endMs = totalMs;
    this.timeMs = 0;
    this.hoverMs = null;
    this.lockedWindow = null;
    this.sources = sources ?? [{ series, seriesUrl }];
    this.#build();
    this.plotWidth = this.#measure();
    this.charts = this.#panels().map((panel) => new StreamChart(this, panel));
    this.list.append(...this.charts.map((chart) => chart.root));
    this.anyDecimated = this.sources.some((source) => source.series.streams.some((stream) => stream.decimated));
    this.gestures = new Gestures(this, this.list, this.ruler);
    this.#watch();
    this.#draw();
    this.#listen();
  }

  /** The ticks uPlot puts its vertical grid lines on; the ruler names the same. */
  get ticks() {
    return timeTicks(this.startMs, this.endMs, Math.max(2, this.plotWidth / PIXELS_PER_TICK));
  }

  get isZoomed() {
    return this.startMs > 0 || this.endMs < this.totalMs;
  }

  get fullWidth() {
    return this.plotWidth + AXIS_WIDTH + RIGHT_PADDING;
  }

  addMark(timeMs, element) {
    this.ruler.addMark(timeMs, element);
  }

  setTime(timeMs, playing) {
    this.timeMs = timeMs;
    if (this.isZoomed && (timeMs < this.startMs || timeMs > this.endMs)) {
      // Turn the page, as a plotter would: a little context behind the cursor, the rest ahead of it.
      const span = this.endMs - this.startMs;
      const lead = playing ? 0.05 : 0.5;
      this.#setWindow(timeMs - span * lead, span);
    }
    this.ruler.place();
    this.#showValues();
  }

  zoomTo(startMs, endMs) {
    this.#setWindow(startMs, Math.max(SHORTEST_WINDOW_MS, endMs - startMs));
  }

  resetZoom() {
    this.#setWindow(0, this.totalMs);
  }

  /** Make the window `factor` times as long around a pixel of the plots, or around the cursor. */
  zoomBy(factor, x) {
    const span = this.endMs - this.startMs;
    const anchor = x === undefined ? (this.hoverMs ?? this.timeMs) : this.timeAtPixel(x);
    const wanted = Math.min(this.totalMs, Math.max(SHORTEST_WINDOW_MS, span * factor));
    this.#setWindow(anchor - ((anchor - this.startMs) / (span || 1)) * wanted, wanted);
  }

  /** Move the window by a share of itself. */
  panBy(share) {
    const span = this.endMs - this.startMs;
    this.#setWindow(this.startMs + share * span, span);
  }

  timeAtPixel(x) {
    const share = Math.min(1, Math.max(0, x / this.plotWidth));
    return this.startMs + share * (this.endMs - this.startMs);
  }

  pixelOf(timeMs) {
    return ((timeMs - this.startMs) / (this.endMs - this.startMs || 1)) * this.plotWidth;
  }

  /** The pointer is x pixels into the plots, null when it is elsewhere. */
  pointAt(x) {
    this.hoverMs = x === null ? null : this.timeAtPixel(x);
    this.ruler.pointAt(x === null ? null : Math.min(this.plotWidth, Math.max(0, x)), this.hoverMs);
    this.#showValues();
  }

  #build() {
    this.ruler = new Ruler(this);
    this.list = element("div", "chart-list");
    this.filter = element("input", "stream-filter");
    Object.assign(this.filter, { type: "search", placeholder: "Filter streams", hidden: true });
    this.filter.setAttribute("aria-label", "Filter streams");
    this.zoomReset = button("button zoom-reset", "Reset zoom", "Show the whole episode again (0)", () => this.resetZoom());
    this.tools = element("div", "chart-tools");
    this.tools.append(this.filter, element("span", "spring"), this.zoomReset);
    const body = element("div", "stack-body");
    body.append(this.ruler.root, this.list, this.ruler.layer);
    this.root.append(this.tools, body);
  }

  /** The streams of all sources, those of one name together. */
  #panels() {
    const panels = new Map();
    for (const source of this.sources) {
      for (const stream of source.series.streams) {
        if (!stream.time.length) continue;
        const key = keyOf(stream);
        if (!panels.has(key)) panels.set(key, { key, name: stream.name, layers: [] });
        panels.get(key).layers.push({ stream: stream.shifted(source.offsetMs), label: source.label, source });
      }
    }
    return [...panels.values()].sort((a, b) => rank(a.layers[0].stream) - rank(b.layers[0].stream));
  }

  #setWindow(startMs, span) {
    const width = Math.min(span, this.totalMs);
    const start = Math.min(Math.max(0, startMs), this.totalMs - width);
    if (start === this.startMs && start + width === this.endMs) return;
    this.startMs = start;
    this.endMs = start + width;
    this.#draw();
    if (this.anyDecimated) this.#refetchSoon();
  }

  #draw() {
    for (const chart of this.charts) chart.draw();
    this.ruler.draw(this.ticks);
    this.zoomReset.hidden = !this.isZoomed;
    this.root.dataset.startMs = String(this.startMs);
    this.root.dataset.endMs = String(this.endMs);
  }

  #showValues() {
    if (this.valuesAsked) return;
    this.valuesAsked = true;
    requestAnimationFrame(() => {
      this.valuesAsked = false;
      const timeMs = this.hoverMs ?? this.timeMs;
      for (const chart of this.charts) if (chart.plot) chart.showValues(timeMs);
    });
  }

  /** The overview is thinned out to a few thousand points; a closer look deserves the points of its own window. */
  #refetchSoon() {
    clearTimeout(this.refetchTimer);
    this.refetchAbort?.abort();
    if (!this.isZoomed) {
      for (const chart of this.charts) chart.useDetail(() => null);
      return;
    }
    this.refetchTimer = setTimeout(async () => {
      const { signal } = (this.refetchAbort = new AbortController());
      try {
        const details = new Map();
        for (const source of this.sources) details.set(source, await this.#fetchDetail(source, signal));
        for (const chart of this.charts) chart.useDetail((layer) => details.get(layer.source).get(keyOf(layer.overview)));
        this.#showValues();
      } catch (error) {
        // The overview stays on screen: coarser than wanted, but right. A newer window aborts an older one.
        if (error.name !== "AbortError") console.warn("RoboTrace: could not load the zoomed window", error);
      }
    }, REFETCH_DELAY_MS);
  }

  async #fetchDetail({ seriesUrl, offsetMs = 0 }, signal) {
    const window = { startMs: this.startMs - offsetMs, endMs: this.endMs - offsetMs };
    const { streams } = await fetchSeries(seriesUrl, window, signal);
    return new Map(streams.map((stream) => [keyOf(stream), stream.shifted(offsetMs)]));
  }

  #measure() {
    return Math.max(40, this.list.clientWidth - AXIS_WIDTH - RIGHT_PADDING);
  }

  /** Charts have a plot only near the screen. */
  #watch() {
    const byRoot = new Map(this.charts.map((chart) => [chart.root, chart]));
    const observer = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) {
          const chart = byRoot.get(target);
          if (isIntersecting) chart.enter();
          else chart.leave();
        }
        this.#showValues();
      },
      { rootMargin: `${NEAR_PIXELS}px 0px` },
    );
    for (const chart of this.charts) observer.observe(chart.root);
  }

  #listen() {
    new ResizeObserver(() => {
      const width = this.#measure();
      if (width === this.plotWidth) return;
      this.plotWidth = width;
      for (const chart of this.charts) chart.resize();
      this.#draw();
    }).observe(this.root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      forgetColours();
      for (const chart of this.charts) chart.recolour();
    });
    if (this.charts.length <= STREAMS_BEFORE_FILTER) return;
    this.filter.hidden = false;
    this.filter.addEventListener("input", () => {
      for (const chart of this.charts) chart.root.hidden = !chart.name.includes(this.filter.value.trim());
    });
  }
}
