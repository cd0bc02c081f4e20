// What lies across all charts of a stack: ruler, cursor, marks, the line under the pointer and the selection.

import { element } from "./dom.js";
import { AXIS_WIDTH } from "./plot.js";
import { formatTime } from "./timeline.js";

// A label this near to the right edge is written to the left of its line.
const FLIP_PIXELS = 80;

export class Ruler {
  constructor(stack) {
    this.stack = stack;
    this.marks = [];
    this.root = element("div", "ruler");
    this.root.setAttribute("aria-hidden", "true");
    this.layer = element("div", "cursor-layer");
    this.layer.setAttribute("aria-hidden", "true");
    this.hover = element("div", "hover-line");
    this.hover.hidden = true;
    this.selection = element("div", "selection");
    this.selection.hidden = true;
    this.cursor = element("div", "cursor");
    this.layer.append(this.selection, this.hover, this.cursor);
    // Lines run through the charts, what is written on them stands in the ruler, which stays in view.
    this.ticks = element("div", "ticks");
    this.heads = element("div", "heads");
    this.cursorHead = element("div", "cursor-head");
    this.hoverHead = element("div", "hover-head");
    this.hoverHead.hidden = true;
    this.hoverHead.append(element("span"));
    this.heads.append(this.cursorHead, this.hoverHead);
    this.root.append(this.ticks, this.heads);
    this.#listen();
  }

  addMark(timeMs, mark) {
    const head = element("div", mark.className);
    head.append(...mark.childNodes);
    this.marks.push({ timeMs, mark, head });
    this.layer.append(mark);
    this.heads.prepend(head);
    this.place();
  }

  draw({ ticks, digits }) {
    this.ticks.replaceChildren(
      ...ticks.map((tick) => {
        const label = element("span", "", formatTime(tick, digits));
        label.style.transform = `translateX(calc(${AXIS_WIDTH + this.stack.pixelOf(tick)}px - 50%))`;
        return label;
      }),
    );
    this.place();
  }

  place() {
    for (const { timeMs, mark, head } of this.marks) {
      this.#placeAt(timeMs, mark);
      this.#placeAt(timeMs, head);
    }
    this.#placeAt(this.stack.timeMs, this.cursor);
    this.#placeAt(this.stack.timeMs, this.cursorHead);
  }

  /** Shows where the pointer is, x pixels into the plots; null when it is elsewhere. */
  pointAt(x, timeMs) {
    this.hover.hidden = this.hoverHead.hidden = x === null;
    if (x === null) return;
    this.hover.style.transform = this.hoverHead.style.transform = `translateX(${x}px)`;
    this.hoverHead.firstElementChild.textContent = formatTime(timeMs);
    this.hoverHead.classList.toggle("flip", x > this.stack.plotWidth - FLIP_PIXELS);
  }

  select(left, right) {
    this.selection.hidden = false;
    this.selection.style.transform = `translateX(${left}px)`;
    this.selection.style.width = `${right - left}px`;
  }

  deselect() {
    this.selection.hidden = true;
  }

  #placeAt(timeMs, mark) {
    const { stack } = this;
    const x = stack.pixelOf(timeMs);
    mark.hidden = x < -0.5 || x > stack.plotWidth + 0.5;
    mark.style.transform = `translateX(${x}px)`;
    mark.classList.toggle("flip", x > stack.plotWidth - FLIP_PIXELS);
  }

  #listen() {
    const seek = (event) => this.stack.onSeek(this.stack.timeAtPixel(event.offsetX - AXIS_WIDTH));
    this.root.addEventListener("pointerdown", (event) => {
      this.root.setPointerCapture(event.pointerId);
      seek(event);
    });
    this.root.addEventListener("pointermove", (event) => {
      if (this.root.hasPointerCapture(event.pointerId)) seek(event);
    });
  }
}
