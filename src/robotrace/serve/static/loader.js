// Fetches what the first answer left out, and the points of a closer look: only of charts that are near the screen.

import { fetchSeries } from "./series.js";

const GATHER_MS = 20;
const DETAIL_DELAY_MS = 120;

export class Loader {
  constructor(stack) {
    this.stack = stack;
    this.asked = new Set();
  }

  /** Fetch the streams of a chart that were left out; charts that ask at the same time are answered together. */
  want(chart) {
    for (const layer of chart.left) this.asked.add(layer);
    if (this.asked.size && !this.gathering) this.gathering = setTimeout(() => this.#fetchLeft(), GATHER_MS);
  }

  /** The window has changed: soon draw what it looks like closely. */
  lookCloser() {
    const { stack } = this;
    clearTimeout(this.timer);
    this.abort?.abort();
    if (!stack.isZoomed) {
      for (const chart of stack.charts) chart.useDetail(() => null);
      return;
    }
    if (this.#thinned().length) this.timer = setTimeout(() => this.#fetchDetail(), DETAIL_DELAY_MS);
  }

  #thinned() {
    return this.stack.charts.filter((chart) => chart.plot && chart.isThinned);
  }

  /** Calls `use(source, streams by key)` for each source of which there are layers. */
  async #fetchFor(layers, window, signal) {
    const bySource = new Map();
    for (const { source, stream } of layers) {
      if (source) bySource.set(source, new Set(bySource.get(source)).add(stream.name));
    }
    const answers = [...bySource].map(async ([source, names]) => {
      const offsetMs = source.offsetMs ?? 0;
      const asked = { names: [...names] };
      if (window) Object.assign(asked, { startMs: window[0] - offsetMs, endMs: window[1] - offsetMs });
      const { streams } = await fetchSeries(source.seriesUrl, asked, signal);
      return [source, new Map(streams.map((stream) => [stream.key, stream.shifted(offsetMs)]))];
    });
    return new Map(await Promise.all(answers));
  }

  async #fetchLeft() {
    this.gathering = null;
    const layers = [...this.asked];
    this.asked.clear();
    try {
      this.stack.arrived(await this.#fetchFor(layers));
    } catch (error) {
      console.warn("RoboTrace: could not load streams", error);
    }
  }

  /** The overview is thinned out to a few thousand points; a closer look deserves the points of its own window. */
  async #fetchDetail() {
    const { stack } = this;
    const { signal } = (this.abort = new AbortController());
    const charts = this.#thinned();
    const layers = charts.flatMap((chart) => chart.layers);
    try {
      const found = await this.#fetchFor(layers, [stack.startMs, stack.endMs], signal);
      for (const chart of charts) chart.useDetail((layer) => found.get(layer.source)?.get(layer.overview.key));
      stack.showValues();
    } catch (error) {
      // The overview stays on screen: coarser than wanted, but right. A newer window aborts an older one.
      if (error.name !== "AbortError") console.warn("RoboTrace: could not load the zoomed window", error);
    }
  }
}
