// The stacked stream charts: one x range, one cursor that is moved and never drawn.

import { StreamChart } from "./chart.js";
import { button, element, icon } from "./dom.js";
import { Gestures } from "./gestures.js";
import { TextLane } from "./lane.js";
import { Loader } from "./loader.js";
import { Overview } from "./overview.js";
import { AXIS_WIDTH, RIGHT_PADDING, forgetColours } from "./plot.js";
import { Ruler } from "./ruler.js";
import { StreamList } from "./stream_list.js";
import { timeTicks } from "./timeline.js";

const SHORTEST_WINDOW_MS = 5;
const PIXELS_PER_TICK = 84;
const NEAR_PIXELS = 300;

/**
 * Owns the charts, their common x range and the cursor above them; everything it shows is made inside `root`.
 *
 * @param {HTMLElement} root an empty element
 * @param {object} options
 * @param {object} options.series what `fetchSeries` answered, and
 * @param {string} options.seriesUrl from where: of one episode
 * @param {object[]} options.sources instead of the two, of several: `[{ label, series, seriesUrl, offsetMs, colour }]`.
 *   Streams of the same name share a chart; `offsetMs` is added to that source's times; `colour` is of all its lines
 * @param {number} options.totalMs how long the episode is
 * @param {function} options.onSeek called with the time in ms at which the reader points
 * @param {string} options.choicesKey what pins, overlays and folds are remembered for; not at all without one
 */
export class ChartStack {
  constructor(root, { series, seriesUrl, sources, totalMs, onSeek, choicesKey }) {
    this.root = root;
    this.totalMs = totalMs;
    this.onSeek = onSeek;
    this.startMs = 0;
    this.endMs = totalMs;
    this.timeMs = 0;
    this.hoverMs = null;
    this.lockedWindow = null;
    this.sources = sources ?? [{ series, seriesUrl }];
    this.#build(choicesKey ?? null);
    this.plotWidth = this.#measure();
    this.charts = this.#makeCharts();
    this.list.fill(this.charts);
    this.loader = new Loader(this);
    this.gestures = new Gestures(this, this.list.root, this.ruler);
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

  /** Show an element at a time, across all charts. */
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
    this.overview.draw();
    this.showValues();
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
    this.showValues();
  }

  showValues() {
    if (this.valuesAsked) return;
    this.valuesAsked = true;
    requestAnimationFrame(() => {
      this.valuesAsked = false;
      const timeMs = this.hoverMs ?? this.timeMs;
      for (const chart of this.charts) if (chart.plot) chart.showValues(timeMs);
    });
  }

  /** What a chart draws has changed. */
  changed(chart) {
    if (!chart.isNear) return;
    chart.enter();
    if (chart.left.length) this.loader.want(chart);
    this.loader.lookCloser();
    this.showValues();
  }

  /** Streams that were left out are here now, by source and key. */
  arrived(found) {
    for (const chart of this.charts) {
      let isNew = false;
      for (const layer of chart.left) {
        const stream = found.get(layer.source)?.get(layer.stream.key);
        if (stream) layer.stream = stream;
        isNew ||= Boolean(stream);
      }
      if (!isNew) continue;
      chart.refresh();
      this.changed(chart);
    }
  }

  #build(choicesKey) {
    this.ruler = new Ruler(this);
    this.overview = new Overview(this);
    this.list = new StreamList(this, choicesKey);
    const reset = button("button zoom-reset", "Reset zoom", "Show the whole episode again (0)", () => this.resetZoom());
    this.lock = button("button lock-y", undefined, "", () => this.#toggleLock());
    this.lock.append(icon("lock"), "Lock y");
    this.lock.title = "Keep the y axes as they are while zooming and panning";
    this.lock.setAttribute("aria-pressed", "false");
    this.zoomReset = reset;
    const tools = element("div", "chart-tools");
    tools.append(this.list.tools, element("span", "spring"), this.lock, reset);
    const top = element("div", "stack-top");
    top.append(this.overview.root, this.ruler.root);
    const body = element("div", "stack-body");
    body.append(top, this.list.root, this.ruler.layer);
    this.root.append(tools, body);
  }

  /** The streams of all sources, those of one name in one chart; a lane for each text. */
  #makeCharts() {
    const panels = new Map();
    for (const source of this.sources) {
      for (const stream of source.series.streams) {
        if (!stream.time.length && !stream.left) continue;
        if (!panels.has(stream.key)) panels.set(stream.key, { key: stream.key, name: stream.name, layers: [] });
        panels.get(stream.key).layers.push({ stream: stream.shifted(source.offsetMs), label: source.label, source });
      }
    }
    const charts = [...panels.values()].map((panel) => new StreamChart(this, panel));
    const lanes = this.sources.flatMap((source) => (source.series.texts ?? []).map((text) => [text, source]));
    return [...charts, ...lanes.map(([text, source]) => new TextLane(this, text, source))];
  }

  #setWindow(startMs, span) {
    const width = Math.min(span, this.totalMs);
    const start = Math.min(Math.max(0, startMs), this.totalMs - width);
    if (start === this.startMs && start + width === this.endMs) return;
    this.startMs = start;
    this.endMs = start + width;
    this.#draw();
    this.loader.lookCloser();
  }

  #draw() {
    for (const chart of this.charts) chart.draw();
    this.ruler.draw(this.ticks);
    this.overview.draw();
    this.zoomReset.hidden = !this.isZoomed;
    this.root.dataset.startMs = String(this.startMs);
    this.root.dataset.endMs = String(this.endMs);
  }

  /** Locked, the y axes stay as they fit the window of that moment. */
  #toggleLock() {
    this.lockedWindow = this.lockedWindow ? null : [this.startMs, this.endMs];
    this.lock.setAttribute("aria-pressed", String(Boolean(this.lockedWindow)));
    for (const chart of this.charts) chart.draw();
  }

  #measure() {
    return Math.max(40, this.list.root.clientWidth - AXIS_WIDTH - RIGHT_PADDING);
  }

  /** Charts have a plot only near the screen. */
  #watch() {
    const byRoot = new Map(this.charts.map((chart) => [chart.root, chart]));
    const observer = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) {
          const chart = byRoot.get(target);
          chart.isNear = isIntersecting;
          if (isIntersecting) chart.enter();
          else chart.leave();
          if (isIntersecting && chart.left.length) this.loader.want(chart);
        }
        if (this.isZoomed) this.loader.lookCloser();
        this.showValues();
      },
      // The page scrolls on a phone, the streams by themselves where there is room beside the video.
      { rootMargin: `${NEAR_PIXELS}px 0px`, scrollMargin: `${NEAR_PIXELS}px 0px` },
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
  }
}
