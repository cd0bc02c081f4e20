// Pointer, wheel and keys on the plots: seek, zoom, pan and pinch, the same for every chart of a stack.

import { AXIS_WIDTH } from "./plot.js";
import { isPageKey } from "./dom.js";

const DRAG_PIXELS = 5;
const WHEEL_ZOOM = 0.004;
const KEY_ZOOM = 0.6;
const KEY_PAN = 0.25;
const LONG_STEP = 10;

/** Moves a stack's window, and seeks, as the pointer and the keys say; `list` is the element its plots are in. */
export class Gestures {
  constructor(stack, list, ruler) {
    this.stack = stack;
    this.list = list;
    this.ruler = ruler;
    this.pointers = new Map();
    this.drag = null;
    list.addEventListener("pointerdown", (event) => this.#down(event));
    list.addEventListener("pointermove", (event) => this.#move(event));
    list.addEventListener("pointerup", (event) => this.#up(event));
    list.addEventListener("pointercancel", (event) => this.#cancel(event));
    list.addEventListener("pointerleave", () => stack.pointAt(null));
    list.addEventListener("dblclick", (event) => {
      if (event.target.closest(".plot")) stack.resetZoom();
    });
    list.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    // A text selection would begin with the drag, and the arrow keys belong to the player after a click.
    list.addEventListener("mousedown", (event) => {
      if (!event.target.closest(".plot")) return;
      event.preventDefault();
      document.activeElement?.blur();
    });
    list.addEventListener("keydown", (event) => this.#keyOnChart(event));
    document.addEventListener("keydown", (event) => this.#key(event));
  }

  #x(event) {
    return event.clientX - this.list.getBoundingClientRect().left - AXIS_WIDTH;
  }

  #down(event) {
    if (!event.target.closest(".plot") || event.button !== 0) return;
    const x = this.#x(event);
    // The first finger: whatever was down before has been lost sight of.
    if (event.isPrimary) this.pointers.clear();
    this.pointers.set(event.pointerId, x);
    if (this.pointers.size === 2) {
      const [a, b] = this.pointers.values();
      this.drag = { kind: "pinch", apart: Math.abs(a - b), middle: (a + b) / 2 };
      this.ruler.deselect();
    } else if (event.pointerType === "touch") {
      this.drag = { kind: "touch", from: x, last: x, moved: false };
    } else {
      this.drag = { kind: event.shiftKey ? "pan" : "zoom", from: x, last: x, moved: false };
    }
  }

  #move(event) {
    // The button was let go of elsewhere.
    if (this.drag && event.pointerType === "mouse" && !event.buttons) this.#cancel(event);
    const { drag, stack } = this;
    const x = this.#x(event);
    if (this.pointers.has(event.pointerId)) this.pointers.set(event.pointerId, x);
    if (!drag) {
      if (event.pointerType !== "touch") stack.pointAt(event.target.closest(".plot") ? x : null);
      return;
    }
    if (drag.kind === "pinch") {
      if (this.pointers.size < 2) return;
      const [a, b] = this.pointers.values();
      const apart = Math.max(8, Math.abs(a - b));
      const middle = (a + b) / 2;
      // What was between the fingers stays between them.
      stack.zoomBy(drag.apart / apart, drag.middle);
      stack.panBy((drag.middle - middle) / stack.plotWidth);
      Object.assign(drag, { apart, middle });
      return;
    }
    if (!drag.moved && Math.abs(x - drag.from) <= DRAG_PIXELS) return;
    // Not before: a click belongs to the plot. A finger has been captured by what it touched.
    if (!drag.moved && drag.kind !== "touch") this.list.setPointerCapture(event.pointerId);
    drag.moved = true;
    if (drag.kind === "zoom") this.#select(drag.from, x);
    else if (drag.kind === "pan" || stack.isZoomed) stack.panBy((drag.last - x) / stack.plotWidth);
    else stack.onSeek(stack.timeAtPixel(x));
    drag.last = x;
  }

  #up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const { drag, stack } = this;
    if (drag?.kind === "pinch") {
      // The finger that is left starts nothing new.
      if (!this.pointers.size) this.drag = null;
      return;
    }
    this.drag = null;
    this.ruler.deselect();
    if (!drag) return;
    const x = this.#x(event);
    if (!drag.moved) stack.onSeek(stack.timeAtPixel(x));
    else if (drag.kind === "zoom") {
      const [start, end] = [drag.from, x].sort((a, b) => a - b);
      stack.zoomTo(stack.timeAtPixel(start), stack.timeAtPixel(end));
    }
  }

  #cancel(event) {
    this.pointers.delete(event.pointerId);
    this.drag = null;
    this.ruler.deselect();
  }

  #select(from, to) {
    const limit = (x) => Math.min(this.stack.plotWidth, Math.max(0, x));
    const [left, right] = [limit(Math.min(from, to)), limit(Math.max(from, to))];
    this.ruler.select(left, right);
    this.stack.pointAt(limit(to));
  }

  /** Wheel with Ctrl (which is also what a pinch on a trackpad sends) zooms at the pointer; sideways it pans. */
  #wheel(event) {
    if (!event.target.closest(".plot")) return;
    const { stack } = this;
    const sideways = event.shiftKey && !event.deltaX ? event.deltaY : event.deltaX;
    if (event.ctrlKey) {
      event.preventDefault();
      stack.zoomBy(Math.exp(event.deltaY * WHEEL_ZOOM), this.#x(event));
    } else if (stack.isZoomed && Math.abs(sideways) > (event.shiftKey ? 0 : Math.abs(event.deltaY))) {
      event.preventDefault();
      stack.panBy(sideways / stack.plotWidth);
    }
  }

  /** On a chart that has the focus the arrows go from sample to sample. */
  #keyOnChart(event) {
    const { stack } = this;
    const chart = stack.charts.find((one) => one.place === event.target);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!chart || !step || !isPageKey(event)) return;
    event.preventDefault();
    event.stopPropagation();
    stack.onSeek(chart.sampleFrom(stack.timeMs, step * (event.shiftKey ? LONG_STEP : 1)));
  }

  #key(event) {
    if (!isPageKey(event)) return;
    const { stack } = this;
    const keys = {
      "+": () => stack.zoomBy(KEY_ZOOM),
      "=": () => stack.zoomBy(KEY_ZOOM),
      w: () => stack.zoomBy(KEY_ZOOM),
      "-": () => stack.zoomBy(1 / KEY_ZOOM),
      s: () => stack.zoomBy(1 / KEY_ZOOM),
      0: () => stack.resetZoom(),
      a: () => stack.panBy(-KEY_PAN),
      d: () => stack.panBy(KEY_PAN),
    };
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }
}
