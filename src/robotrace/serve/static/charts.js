// The stacked stream charts: one x range, one cursor that is moved and never drawn.

import { fetchSeries } from "./series.js";
import { StreamChart, AXIS_WIDTH, RIGHT_PADDING } from "./chart.js";
import { formatTime, timeTicks } from "./timeline.js";

const REFETCH_DELAY_MS = 120;
const SHORTEST_WINDOW_MS = 5;
const PIXELS_PER_TICK = 84;
const STREAMS_BEFORE_FILTER = 8;
// What an engineer looks at first comes first; the rest stays in the order it was recorded.
const LEADING = ["observation", "action", "reward"];

function rank(stream) {
  const index = LEADING.findIndex((name) => stream.name === name || stream.name.startsWith(`${name}.`));
  return (index < 0 ? LEADING.length : index) + (stream.isFlag ? LEADING.length : 0);
}

/**
 * Owns the charts, their common x range and the cursor above them. `onSeek(timeMs)` is called when the reader points
 * at a time.
 */
export class ChartStack {
  constructor(root, { series, seriesUrl, totalMs, onSeek }) {
    this.root = root;
    this.seriesUrl = seriesUrl;
    this.totalMs = totalMs;
    this.onSeek = onSeek;
    this.startMs = 0;
    this.endMs = totalMs;
    this.timeMs = 0;
    this.hoverMs = null;
    this.marks = [];
    this.ruler = root.querySelector(".ruler");
    this.layer = root.querySelector(".cursor-layer");
    this.cursor = this.layer.querySelector(".cursor");
    this.hover = this.layer.querySelector(".hover-line");
    this.zoomReset = document.getElementById("zoom-reset");
    this.anyDecimated = series.streams.some((stream) => stream.decimated);
    const list = root.querySelector(".chart-list");
    this.plotWidth = this.#measure();
    const streams = series.streams.filter((stream) => stream.time.length).sort((a, b) => rank(a) - rank(b));
    this.charts = streams.map((stream) => new StreamChart(list, stream, this));
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

  addMark(timeMs, element) {
    this.marks.push({ timeMs, element });
    this.layer.append(element);
    this.#placeOverlay();
  }

  setTime(timeMs, playing) {
    this.timeMs = timeMs;
    if (this.isZoomed && (timeMs < this.startMs || timeMs > this.endMs)) {
      // Turn the page, as a plotter would: a little context behind the cursor, the rest ahead of it.
      const span = this.endMs - this.startMs;
      const lead = playing ? 0.05 : 0.5;
      this.#setWindow(timeMs - span * lead, span);
    }
    this.#placeOverlay();
    this.#showValues();
  }

  zoomTo(startMs, endMs) {
    this.#setWindow(startMs, Math.max(SHORTEST_WINDOW_MS, endMs - startMs));
  }

  resetZoom() {
    this.#setWindow(0, this.totalMs);
  }

  timeAtPixel(x) {
    const share = Math.min(1, Math.max(0, x / this.plotWidth));
    return this.startMs + share * (this.endMs - this.startMs);
  }

  pointAt(x) {
    this.hoverMs = x === null ? null : this.timeAtPixel(x);
    this.hover.hidden = x === null;
    if (x !== null) {
      this.hover.style.transform = `translateX(${x}px)`;
      this.hover.firstElementChild.textContent = formatTime(this.hoverMs);
      this.hover.classList.toggle("flip", x > this.plotWidth - 80);
    }
    this.#showValues();
  }

  /** Wheel with Ctrl (which is also what a pinch on a trackpad sends) zooms around the pointer; sideways it pans. */
  wheel(event, x) {
    const span = this.endMs - this.startMs;
    if (event.ctrlKey) {
      event.preventDefault();
      const anchor = this.timeAtPixel(x);
      const wanted = Math.min(this.totalMs, Math.max(SHORTEST_WINDOW_MS, span * Math.exp(event.deltaY * 0.004)));
      this.#setWindow(anchor - (x / this.plotWidth) * wanted, wanted);
    } else if (this.isZoomed && Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      this.#setWindow(this.startMs + (event.deltaX / this.plotWidth) * span, span);
    }
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
    for (const chart of this.charts) chart.setRange(this.startMs, this.endMs);
    const { ticks, digits } = this.ticks;
    this.ruler.replaceChildren(
      ...ticks.map((tick) => {
        const label = document.createElement("span");
        label.textContent = formatTime(tick, digits);
        label.style.transform = `translateX(calc(${AXIS_WIDTH + this.#pixelOf(tick)}px - 50%))`;
        return label;
      }),
    );
    if (this.zoomReset) this.zoomReset.hidden = !this.isZoomed;
    this.root.dataset.startMs = String(this.startMs);
    this.root.dataset.endMs = String(this.endMs);
    this.#placeOverlay();
  }

  #pixelOf(timeMs) {
    return ((timeMs - this.startMs) / (this.endMs - this.startMs || 1)) * this.plotWidth;
  }

  #placeOverlay() {
    for (const { timeMs, element } of [...this.marks, { timeMs: this.timeMs, element: this.cursor }]) {
      const x = this.#pixelOf(timeMs);
      element.hidden = x < -0.5 || x > this.plotWidth + 0.5;
      element.style.transform = `translateX(${x}px)`;
      element.classList.toggle("flip", x > this.plotWidth - 80);
    }
  }

  #showValues() {
    if (this.valuesAsked) return;
    this.valuesAsked = true;
    requestAnimationFrame(() => {
      this.valuesAsked = false;
      const timeMs = this.hoverMs ?? this.timeMs;
      for (const chart of this.charts) chart.showValues(timeMs);
    });
  }

  /** The overview is thinned out to a few thousand points; a closer look deserves the points of its own window. */
  #refetchSoon() {
    clearTimeout(this.refetchTimer);
    this.refetchAbort?.abort();
    if (!this.isZoomed) {
      for (const chart of this.charts) chart.useOverview();
      return;
    }
    this.refetchTimer = setTimeout(async () => {
      const { signal } = (this.refetchAbort = new AbortController());
      try {
        const window = { startMs: this.startMs, endMs: this.endMs };
        const { streams } = await fetchSeries(this.seriesUrl, window, signal);
        const byName = new Map(streams.map((stream) => [stream.artifact + stream.name, stream]));
        for (const chart of this.charts) chart.useDetail(byName.get(chart.key));
        this.#showValues();
      } catch (error) {
        // The overview stays on screen: coarser than wanted, but right. A newer window aborts an older one.
        if (error.name !== "AbortError") console.warn("RoboTrace: could not load the zoomed window", error);
      }
    }, REFETCH_DELAY_MS);
  }

  #measure() {
    return Math.max(40, this.root.querySelector(".chart-list").clientWidth - AXIS_WIDTH - RIGHT_PADDING);
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
      for (const chart of this.charts) chart.recolour();
    });
    this.zoomReset?.addEventListener("click", () => this.resetZoom());
    this.#listenToRuler();
    const filter = document.getElementById("stream-filter");
    if (!filter || this.charts.length <= STREAMS_BEFORE_FILTER) return;
    filter.hidden = false;
    filter.addEventListener("input", () => {
      for (const chart of this.charts) chart.setVisible(chart.stream.name.includes(filter.value.trim()));
    });
  }

  #listenToRuler() {
    const seek = (event) => this.onSeek(this.timeAtPixel(event.offsetX - AXIS_WIDTH));
    this.ruler.addEventListener("pointerdown", (event) => {
      this.ruler.setPointerCapture(event.pointerId);
      seek(event);
    });
    this.ruler.addEventListener("pointermove", (event) => {
      if (this.ruler.hasPointerCapture(event.pointerId)) seek(event);
    });
  }
}
