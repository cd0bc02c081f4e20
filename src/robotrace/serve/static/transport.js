// Play, scrub, step and speed: what moves the one clock, and the address that says where it stands.

import { addressOf, isPlain } from "./address.js";
import { confirmOn, copyText } from "./clipboard.js";
import { formatTime } from "./timeline.js";

const URL_DELAY_MS = 150;
// Where the track of a range input begins and ends: half a thumb from its edges.
const THUMB_PX = 7;
const PARTS = [
  "scrub",
  "scrub-hint",
  "play",
  "step-back",
  "step-forward",
  "time",
  "total",
  "frame-label",
  "speed",
  "copy-link",
  "full-screen",
];

export class Transport {
  constructor(player) {
    this.player = player;
    this.host = document.getElementById("player");
    this.parts = Object.fromEntries(PARTS.map((id) => [id, document.getElementById(id)]));
    this.parts.scrub.max = String(player.totalMs);
    this.parts.total.textContent = `${formatTime(player.totalMs)} s`;
    this.#wireButtons();
    this.#wireScrubBar();
    player.addEventListener("time", () => this.#showTime());
    player.addEventListener("state", () => this.#showState());
    player.addEventListener("settled", () => this.#settled());
    this.#showTime();
    this.#showState();
  }

  async copyLink() {
    this.player.pause();
    confirmOn(this.parts["copy-link"], await copyText(addressOf(this.player)));
  }

  /** Goes to the next speed of the list, or the one before. */
  changeRate(by) {
    const rates = [...this.parts.speed.options].map((option) => Number(option.value));
    const rate = rates[rates.indexOf(this.player.rate) + by];
    if (rate) this.player.setRate(rate);
  }

  toggleFullScreen() {
    const workspace = document.getElementById("workspace");
    if (document.fullscreenElement) document.exitFullscreen();
    else workspace.requestFullscreen?.().catch(() => {}); // refused: the page stays as it is
  }

  #showTime() {
    const { player, parts, host } = this;
    const { timeMs, frame, frames, totalMs } = player;
    const unit = player.camera ? "frame" : "row";
    host.dataset.frame = String(frame);
    host.dataset.timeMs = String(timeMs);
    host.dataset.settled = "false";
    const text = formatTime(timeMs);
    parts.time.textContent = text;
    const number = frame < 0 ? "–" : frame;
    parts["frame-label"].textContent = frames.count ? `${unit} ${number} / ${frames.count - 1}` : "";
    parts.scrub.value = String(timeMs);
    parts.scrub.setAttribute("aria-valuetext", `${text} seconds, ${unit} ${number}`);
    parts.scrub.style.setProperty("--done", `${totalMs ? (timeMs / totalMs) * 100 : 0}%`);
  }

  #showState() {
    const { player, parts, host } = this;
    host.dataset.playing = String(player.playing);
    parts.play.dataset.state = player.playing ? "playing" : "paused";
    parts.play.setAttribute("aria-label", player.playing ? "Pause" : "Play");
    parts.play.title = `${player.playing ? "Pause" : "Play"} (space)`;
    parts.speed.value = String(player.rate);
    this.#writeUrlSoon();
  }

  #settled() {
    this.host.dataset.settled = "true";
    this.#writeUrlSoon();
  }

  /** Browsers refuse more than about 100 address changes in 10 s, which a scrub would reach at once. */
  #writeUrlSoon() {
    clearTimeout(this.urlTimer);
    this.urlTimer = setTimeout(() => {
      const { player } = this;
      if (player.playing || this.host.dataset.settled !== "true" || isPlain(player)) return;
      history.replaceState(history.state, "", addressOf(player));
    }, URL_DELAY_MS);
  }

  #wireButtons() {
    const { player, parts } = this;
    parts.play.addEventListener("click", () => player.toggle());
    parts["step-back"].addEventListener("click", () => player.step(-1));
    parts["step-forward"].addEventListener("click", () => player.step(1));
    parts.speed.addEventListener("change", () => player.setRate(Number(parts.speed.value)));
    parts["copy-link"].addEventListener("click", () => this.copyLink());
    parts["full-screen"].hidden = !document.fullscreenEnabled;
    parts["full-screen"].addEventListener("click", () => this.toggleFullScreen());
    document.addEventListener("fullscreenchange", () => {
      const full = Boolean(document.fullscreenElement);
      parts["full-screen"].setAttribute("aria-label", full ? "Leave full screen" : "Full screen");
    });
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
    const goOn = () => {
      if (resume) player.play();
      resume = false;
    };
    // No `change` comes where the value is what it was.
    for (const name of ["change", "pointerup", "pointercancel"]) scrub.addEventListener(name, goOn);
    this.#wireHint();
  }

  /** Says which time the pointer is over. */
  #wireHint() {
    const { player } = this;
    const { scrub, "scrub-hint": hint } = this.parts;
    scrub.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "mouse") return;
      const { left, width } = scrub.getBoundingClientRect();
      const x = Math.min(Math.max(event.clientX - left, THUMB_PX), width - THUMB_PX);
      hint.hidden = false;
      hint.textContent = formatTime(((x - THUMB_PX) / (width - 2 * THUMB_PX)) * player.totalMs);
      hint.style.transform = `translateX(calc(${x}px - 50%))`;
    });
    scrub.addEventListener("pointerleave", () => (hint.hidden = true));
  }
}
