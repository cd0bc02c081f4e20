// The range that is played again and again: a band with two handles on the scrubber.

import { formatTime } from "./timeline.js";

const LONG_STEP_MS = 1000;

/** Shows a player's loop on the scrubber, and changes it: by handle, button and the calls of the keyboard. */
export class LoopBar {
  /**
   * @param {Player} player
   * @param {() => {startMs: number, endMs: number} | null} window what a loop without a range is about: the streams'
   *   zoomed window
   */
  constructor(player, window = () => null) {
    this.player = player;
    this.window = window;
    this.root = document.getElementById("loop");
    this.range = document.getElementById("loop-range");
    this.toggleButton = document.getElementById("loop-toggle");
    this.handles = { startMs: document.getElementById("loop-start"), endMs: document.getElementById("loop-end") };
    for (const [edge, handle] of Object.entries(this.handles)) this.#wire(edge, handle);
    this.toggleButton.addEventListener("click", () => this.toggle());
    player.addEventListener("state", () => this.#show());
    this.#show();
  }

  /** The loop begins at the current frame. */
  startHere() {
    const startMs = this.player.timeMs;
    const endMs = this.player.loop?.endMs ?? this.player.totalMs;
    this.#set(startMs, endMs > startMs ? endMs : this.player.totalMs);
  }

  /** The loop ends with the current frame. */
  endHere() {
    const { player } = this;
    const { frames, frame } = player;
    const endMs = frames.count && frame >= 0 ? Math.max(frames.startOf(frame + 1), player.timeMs) : player.timeMs;
    const startMs = player.loop?.startMs ?? 0;
    this.#set(startMs < endMs ? startMs : 0, endMs);
  }

  toggle() {
    const { player } = this;
    if (player.loop) {
      player.setLoop({ ...player.loop, on: !player.loop.on });
    } else {
      const { startMs, endMs } = this.window() ?? { startMs: 0, endMs: player.totalMs };
      this.#set(startMs, endMs);
    }
  }

  clear() {
    this.player.setLoop(null);
  }

  #set(startMs, endMs) {
    const { totalMs } = this.player;
    this.player.setLoop({ startMs: Math.max(0, startMs), endMs: Math.min(endMs, totalMs), on: true });
  }

  #show() {
    const { loop, totalMs } = this.player;
    this.root.hidden = !loop;
    this.toggleButton.setAttribute("aria-pressed", String(Boolean(loop?.on)));
    if (!loop) return;
    this.root.dataset.on = String(loop.on);
    const share = (timeMs) => `${totalMs ? (timeMs / totalMs) * 100 : 0}%`;
    this.range.style.left = share(loop.startMs);
    this.range.style.width = share(loop.endMs - loop.startMs);
    for (const [edge, handle] of Object.entries(this.handles)) {
      handle.style.left = share(loop[edge]);
      handle.setAttribute("aria-valuemin", "0");
      handle.setAttribute("aria-valuemax", String(totalMs));
      handle.setAttribute("aria-valuenow", String(loop[edge]));
      handle.setAttribute("aria-valuetext", `${formatTime(loop[edge])} seconds`);
    }
  }

  /** Moves an edge; it stays on its side of the other one. */
  #move(edge, timeMs) {
    const { loop, frames, totalMs } = this.player;
    // An edge lies between two frames, so that it is clear which of them are played; beyond them it lies anywhere.
    const isInside = frames.count && !frames.isBefore(timeMs) && timeMs < frames.endMs;
    const at = isInside ? frames.startOf(frames.frameAt(timeMs)) : timeMs;
    const moved = { ...loop, [edge]: timeMs >= totalMs ? totalMs : Math.max(0, at) };
    if (moved.startMs < moved.endMs) this.player.setLoop(moved);
  }

  #wire(edge, handle) {
    const timeAt = (event) => {
      const { left, width } = this.root.getBoundingClientRect();
      return ((event.clientX - left) / width) * this.player.totalMs;
    };
    handle.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      handle.focus();
      handle.setPointerCapture(event.pointerId);
    });
    handle.addEventListener("pointermove", (event) => {
      if (handle.hasPointerCapture(event.pointerId)) this.#move(edge, timeAt(event));
    });
    handle.addEventListener("keydown", (event) => this.#key(edge, event));
  }

  #key(edge, event) {
    const { player } = this;
    const now = player.loop[edge];
    const step = (count) => {
      const { frames } = player;
      if (event.shiftKey || !frames.count) return now + count * LONG_STEP_MS;
      // The end of the last frame is an edge, too.
      const index = now >= frames.endMs ? frames.count : frames.frameAt(now);
      return frames.startOf(Math.min(Math.max(0, index + count), frames.count));
    };
    const times = {
      ArrowLeft: () => step(-1),
      ArrowDown: () => step(-1),
      ArrowRight: () => step(1),
      ArrowUp: () => step(1),
      Home: () => 0,
      End: () => player.totalMs,
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !times[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    this.#move(edge, times[event.key]());
  }
}
