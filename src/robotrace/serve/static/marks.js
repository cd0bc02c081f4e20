// What happened when: the failure, the findings, and where pictures are missing; on the scrubber and in the charts.

import { button, element } from "./dom.js";
import { ROUNDING_MS, formatTime } from "./timeline.js";

// A camera's pictures are missing where the next one takes so many times as long as usual, and this at the least.
const GAP_FACTOR = 6;
const GAP_MS = 250;
const MOST_GAPS = 50;
// Of the time line: nearer to each other two labels cannot be read.
const NEAR_SHARE = 0.01;

/**
 * The marks of an episode, in the order of time.
 *
 * @param {object} twin the episode's JSON
 * @returns {{timeMs: number, kind: string, label: string, title: string}[]} `kind`: `failure`, or `onset` of a finding;
 *   `label` is short
 */
export function marksOf(twin, totalMs) {
  const { episode, analysis } = twin;
  const marks = [];
  if (episode.failure_time_s !== null) {
    const exception = episode.metadata?.exception?.type;
    const label = typeof exception === "string" ? exception.slice(0, 40) : "failure";
    marks.push({ timeMs: episode.failure_time_s * 1000, kind: "failure", label, title: episode.failure_reason ?? "" });
  }
  (analysis?.findings ?? []).forEach((finding, index) => {
    if (finding.onset_s === null) return;
    marks.push({ timeMs: finding.onset_s * 1000, kind: "onset", label: String(index + 1), title: finding.title });
  });
  for (const mark of marks) mark.timeMs = Math.min(mark.timeMs, totalMs);
  return joined(marks.sort((a, b) => a.timeMs - b.timeMs), totalMs * NEAR_SHARE);
}

/** Marks that would stand on top of each other become one; a failure gives it its time. */
function joined(marks, nearMs) {
  const found = [];
  for (const mark of marks) {
    const last = found.at(-1);
    if (!last || mark.timeMs - last.timeMs > nearMs) {
      found.push(mark);
      continue;
    }
    const [first, second] = mark.kind === "failure" ? [mark, last] : [last, mark];
    const title = [first.title, second.title].filter(Boolean).join(", ");
    found[found.length - 1] = { ...first, label: `${first.label}, ${second.label}`, title };
  }
  return found;
}

/** Where pictures of a camera are missing: `[startMs, endMs]` each. */
export function gapsOf(frames) {
  if (frames.count < 3) return [];
  const lengths = Float64Array.from({ length: frames.count - 1 }, (_, frame) => frames.startOf(frame + 1) - frames.startOf(frame));
  const usual = lengths.slice().sort()[lengths.length >> 1];
  const least = Math.max(GAP_MS, GAP_FACTOR * usual);
  const gaps = [];
  lengths.forEach((length, frame) => {
    if (length > least && gaps.length < MOST_GAPS) gaps.push([frames.startOf(frame) + usual, frames.startOf(frame + 1)]);
  });
  return gaps;
}

/** Puts the marks where the reader sees them, and goes from one to the next. */
export class Marks {
  /**
   * @param {Player} player
   * @param {object[]} marks as `marksOf` gives them, in the order of time
   * @param {ChartStack | null} charts
   */
  constructor(player, marks, charts) {
    this.player = player;
    this.marks = marks;
    this.lane = document.getElementById("scrub-marks");
    this.#drawGaps();
    for (const mark of marks) {
      this.#addFlag(mark);
      charts?.addMark(mark.timeMs, this.#line(mark));
    }
    this.#wireNext();
    this.#wireLinks();
    player.addEventListener("active", () => this.#drawGaps());
  }

  /** Goes to the next mark, after the last one to the first. */
  next() {
    const { player, marks } = this;
    if (!marks.length) return;
    // A mark within the frame on screen is where one is already.
    const { frames, frame, timeMs } = player;
    const hereMs = frames.count && frame >= 0 ? Math.max(timeMs, frames.startOf(frame + 1) - ROUNDING_MS) : timeMs;
    this.goTo(marks.find((mark) => mark.timeMs > hereMs) ?? marks[0]);
  }

  goTo(mark) {
    this.player.pause();
    this.player.seek(mark.timeMs);
  }

  #share(timeMs) {
    return `${this.player.totalMs ? (timeMs / this.player.totalMs) * 100 : 0}%`;
  }

  #line({ kind, label }) {
    const line = element("div", `mark ${kind}`);
    line.append(element("span", "", label));
    return line;
  }

  #addFlag(mark) {
    const what = mark.kind === "failure" ? ["Failure", mark.title].filter(Boolean).join(": ") : mark.title;
    const title = `${what} at ${formatTime(mark.timeMs)} s`;
    const flag = button(`flag ${mark.kind}`, "", title, () => this.goTo(mark));
    // The keyboard has `f`, and the findings are listed with links: a tab stop each would only be in the way.
    flag.tabIndex = -1;
    flag.style.left = this.#share(mark.timeMs);
    flag.append(element("span", "", mark.kind === "failure" ? "" : mark.label));
    this.lane.append(flag);
  }

  #drawGaps() {
    for (const gap of this.lane.querySelectorAll(".gap")) gap.remove();
    if (!this.player.camera) return;
    for (const [startMs, endMs] of gapsOf(this.player.camera.frames)) {
      const gap = element("i", "gap");
      gap.title = `No picture for ${formatTime(endMs - startMs)} s`;
      gap.style.left = this.#share(startMs);
      gap.style.width = this.#share(endMs - startMs);
      this.lane.prepend(gap);
    }
  }

  #wireNext() {
    const next = document.getElementById("next-mark");
    next.hidden = !this.marks.length;
    next.addEventListener("click", () => this.next());
    const failure = this.marks.find((mark) => mark.kind === "failure");
    if (failure) document.getElementById("jump-to-failure")?.addEventListener("click", () => this.goTo(failure));
  }

  /** The findings' own links go there without loading the page again. */
  #wireLinks() {
    for (const item of document.querySelectorAll(".finding[data-onset-ms]")) {
      item.querySelector("a.figure").addEventListener("click", (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        this.goTo({ timeMs: Number(item.dataset.onsetMs) });
        document.getElementById("workspace").scrollIntoView({ block: "start" });
      });
    }
  }
}
