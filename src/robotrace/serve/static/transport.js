// Play, scrub, step, speed and the keyboard: everything that moves the one clock.

import { confirmOn, copyText } from "./clipboard.js";
import { formatTime } from "./timeline.js";

const ARROW_MS = 1000;
const LONG_ARROW_MS = 10000;
const URL_DELAY_MS = 150;

/** The address of this page at the player's time. */
function linkTo(player) {
  const address = new URL(location.href);
  address.searchParams.set("t", `${player.linkText()}ms`);
  address.hash = "";
  return address.href;
}

export class Transport {
  /**
   * @param {Player} player
   * @param {{failureMs: number | null}} options
   */
  constructor(player, { failureMs }) {
    this.player = player;
    this.failureMs = failureMs;
    this.root = document.getElementById("transport");
    this.host = document.getElementById("player");
    this.parts = Object.fromEntries(
      ["scrub", "play", "step-back", "step-forward", "time", "total", "frame-label", "speed", "copy-link"].map((id) => [
        id,
        document.getElementById(id),
      ]),
    );
    this.parts.scrub.max = String(player.totalMs);
    this.parts.total.textContent = `${formatTime(player.totalMs)} s`;
    this.#wireButtons();
    this.#wireScrubBar();
    this.#wireKeyboard();
    player.addEventListener("time", () => this.#showTime());
    player.addEventListener("state", () => this.#showState());
    player.addEventListener("settled", () => this.#settled());
    player.addEventListener("active", () => this.#showTime());
    this.#showTime();
    this.#showState();
  }

  #showTime() {
    const { player, parts, host } = this;
    const { timeMs, frame, frames, totalMs } = player;
    host.dataset.frame = String(frame);
    host.dataset.timeMs = String(timeMs);
    host.dataset.settled = "false";
    const text = formatTime(timeMs);
    const unit = player.camera ? "frame" : "row";
    parts.time.textContent = text;
    parts["frame-label"].textContent = frames.count ? `${unit} ${Math.max(0, frame)} / ${frames.count - 1}` : "";
    parts.scrub.value = String(timeMs);
    parts.scrub.setAttribute("aria-valuetext", `${text} seconds, ${unit} ${frame}`);
    parts.scrub.style.setProperty("--done", `${totalMs ? (timeMs / totalMs) * 100 : 0}%`);
  }

  #showState() {
    const { player, parts, host } = this;
    host.dataset.playing = String(player.playing);
    parts.play.dataset.state = player.playing ? "playing" : "paused";
    parts.play.setAttribute("aria-label", player.playing ? "Pause" : "Play");
    parts.play.title = `${player.playing ? "Pause" : "Play"} (space)`;
    parts.speed.value = String(player.rate);
  }

  #settled() {
    this.host.dataset.settled = "true";
    // Browsers refuse more than about 100 address changes in 10 s, which a scrub would reach at once.
    clearTimeout(this.urlTimer);
    this.urlTimer = setTimeout(() => this.#writeUrl(), URL_DELAY_MS);
  }

  #writeUrl() {
    if (this.player.playing) return;
    // An address without a time means the start: opening a page should not change its address.
    if (this.player.timeMs === 0 && !new URLSearchParams(location.search).has("t")) return;
    history.replaceState(history.state, "", linkTo(this.player));
  }

  #wireButtons() {
    const { player, parts } = this;
    parts.play.addEventListener("click", () => player.toggle());
    parts["step-back"].addEventListener("click", () => player.step(-1));
    parts["step-forward"].addEventListener("click", () => player.step(1));
    parts.speed.addEventListener("change", () => player.setRate(Number(parts.speed.value)));
    parts["copy-link"].addEventListener("click", () => this.#copyLink());
    document.getElementById("jump-to-failure")?.addEventListener("click", () => this.#jumpToFailure());
    const help = document.getElementById("help");
    document.getElementById("help-open").addEventListener("click", () => help.showModal());
  }

  async #copyLink() {
    this.player.pause();
    confirmOn(this.parts["copy-link"], await copyText(linkTo(this.player)));
  }

  #jumpToFailure() {
    if (this.failureMs === null) return;
    this.player.pause();
    this.player.seek(this.failureMs);
  }

  #wireScrubBar() {
    const { player } = this;
    const { scrub } = this.parts;
    let resume = false;
    scrub.addEventListener("pointerdown", () => {
      resume = player.playing;
      player.pause();
    });
    scrub.addEventListener("input", () => player.seek(Number(scrub.value)));
    scrub.addEventListener("change", () => {
      if (resume) player.play();
      resume = false;
    });
  }

  #wireKeyboard() {
    const { player } = this;
    const rates = [...this.parts.speed.options].map((option) => Number(option.value));
    const changeRate = (by) => {
      const index = rates.indexOf(player.rate) + by;
      if (rates[index]) player.setRate(rates[index]);
    };
    const keys = {
      " ": () => player.toggle(),
      k: () => player.toggle(),
      ",": () => player.step(-1),
      ".": () => player.step(1),
      ArrowLeft: (event) => player.seek(player.timeMs - (event.shiftKey ? LONG_ARROW_MS : ARROW_MS)),
      ArrowRight: (event) => player.seek(player.timeMs + (event.shiftKey ? LONG_ARROW_MS : ARROW_MS)),
      Home: () => player.seek(0),
      End: () => player.seek(player.totalMs),
      "<": () => changeRate(-1),
      ">": () => changeRate(1),
      f: () => this.#jumpToFailure(),
      c: () => this.#copyLink(),
      "?": () => document.getElementById("help").showModal(),
    };
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      const { target } = event;
      const isScrub = target === this.parts.scrub;
      if (!isScrub && target.closest("input, textarea, select, [contenteditable]")) return;
      // A focused button, link or fold keeps its own space key.
      if (event.key === " " && target.closest("button, a, summary")) return;
      const act = keys[event.key];
      if (!act) return;
      event.preventDefault();
      act(event);
    });
  }
}
