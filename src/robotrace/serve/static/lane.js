// A stream of texts as a lane: what was said stands from when it was said until the next.

import { button, element } from "./dom.js";
import { lastAtOrBefore, formatTime } from "./timeline.js";

// A label narrower than this could not be read.
const LABEL_PIXELS = 18;

/** Looks like a chart to the stack; `text` is as series.bin describes it. */
export class TextLane {
  constructor(stack, text, source) {
    this.stack = stack;
    this.name = text.name;
    // What was said is searched for, as the columns of a chart are.
    this.labels = [...new Set(text.rows.map(([, words]) => words))];
    this.isFlag = true;
    this.layers = [];
    this.left = [];
    this.isThinned = false;
    this.plot = null;
    this.rows = text.rows.map(([timeMs, words]) => [timeMs + (source.offsetMs ?? 0), words]);
    this.times = this.rows.map(([timeMs]) => timeMs);
    // Only the first changes were sent: what was said after the last of them is not known.
    this.isCut = text.changes > this.rows.length;
    this.root = element("article", "chart");
    this.root.dataset.shape = "text";
    this.root.dataset.stream = text.name;
    this.value = element("span", "legend-value", "–");
    this.band = element("div", "plot lane");
    const head = element("header", "chart-head");
    head.append(element("h2", "chart-name", [source.label, text.name].filter(Boolean).join(" ")), this.value);
    this.head = { place() {} };
    this.root.append(head, this.band, this.#list(text));
  }

  enter() {
    this.plot = this.band;
    this.draw();
  }

  leave() {
    this.plot = null;
    this.band.replaceChildren();
  }

  resize() {
    this.draw();
  }

  recolour() {}

  useDetail() {}

  /** One element for each text in the window, as wide as it was in force. */
  draw() {
    if (!this.plot) return;
    const { stack } = this;
    const first = Math.max(0, lastAtOrBefore(this.times, stack.startMs));
    const last = lastAtOrBefore(this.times, stack.endMs);
    const pieces = [];
    for (let index = first; index <= last; index += 1) {
      const from = Math.max(0, stack.pixelOf(this.times[index]));
      const to = Math.min(stack.plotWidth, stack.pixelOf(this.times[index + 1] ?? (this.isCut ? this.times[index] : stack.totalMs)));
      const piece = element("span", "", to - from >= LABEL_PIXELS ? this.rows[index][1] : "");
      piece.title = this.rows[index][1];
      piece.style.left = `${from}px`;
      piece.style.width = `${Math.max(1, to - from)}px`;
      pieces.push(piece);
    }
    this.band.replaceChildren(...pieces);
  }

  showValues(timeMs) {
    const row = lastAtOrBefore(this.times, timeMs);
    const isUnknown = this.isCut && row === this.rows.length - 1 && timeMs > this.times[row];
    const text = row < 0 || isUnknown ? "–" : this.rows[row][1];
    if (this.value.textContent !== text) this.value.textContent = text;
  }

  #list(text) {
    const fold = element("details", "text-rows");
    const more = text.changes > this.rows.length ? `, the first ${this.rows.length} of them` : "";
    fold.append(element("summary", "", `${text.changes === 1 ? "1 text" : `${text.changes} texts`}${more}`));
    const list = element("ol");
    // Hundreds of rows are made when somebody asks for them.
    fold.addEventListener("toggle", () => {
      if (list.children.length) return;
      for (const [timeMs, words] of this.rows) {
        const row = element("li");
        const go = button("link figure", formatTime(timeMs), "Go there", () => this.stack.onSeek(timeMs));
        row.append(go, element("span", "", words));
        list.append(row);
      }
    });
    fold.append(list);
    return fold;
  }
}
