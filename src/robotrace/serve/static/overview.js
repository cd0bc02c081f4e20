// The whole episode as a strip, with the part that the charts show: there while they show a part.

import { element } from "./dom.js";

export class Overview {
  constructor(stack) {
    this.stack = stack;
    this.root = element("div", "overview");
    this.root.setAttribute("aria-hidden", "true");
    this.root.title = "The part shown; drag it, or double-click for the whole episode";
    this.thumb = element("div", "overview-window");
    this.now = element("div", "overview-now");
    this.root.append(this.thumb, this.now);
    this.root.addEventListener("pointerdown", (event) => this.#down(event));
    this.root.addEventListener("pointermove", (event) => this.#move(event));
    this.root.addEventListener("dblclick", () => stack.resetZoom());
  }

  draw() {
    const { stack } = this;
    this.root.classList.toggle("idle", !stack.isZoomed);
    const share = (timeMs) => `${(timeMs / (stack.totalMs || 1)) * 100}%`;
    this.thumb.style.left = share(stack.startMs);
    this.thumb.style.width = share(stack.endMs - stack.startMs);
    this.now.style.left = share(Math.min(stack.timeMs, stack.totalMs));
  }

  #timeOf(event) {
    const { left, width } = this.root.getBoundingClientRect();
    return ((event.clientX - left) / width) * this.stack.totalMs;
  }

  #down(event) {
    const { stack } = this;
    this.root.setPointerCapture(event.pointerId);
    const at = this.#timeOf(event);
    const inside = at >= stack.startMs && at <= stack.endMs;
    // Beside the window it comes to the pointer.
    this.grip = inside ? at - stack.startMs : (stack.endMs - stack.startMs) / 2;
    this.#move(event);
  }

  #move(event) {
    if (!this.root.hasPointerCapture(event.pointerId)) return;
    const { stack } = this;
    const span = stack.endMs - stack.startMs;
    stack.panBy((this.#timeOf(event) - this.grip - stack.startMs) / span);
  }
}
