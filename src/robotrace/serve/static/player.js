// The one clock of the page, and the cameras that follow it. While they play, one of them is the clock.

import { Ticker, chooseLeader, lastMsOf } from "./lead.js";
import { FrameTable, ROUNDING_MS } from "./timeline.js";

/**
 * Holds the current time, and keeps every camera on the frame of its own that belongs to it.
 *
 * The active camera is the one whose frames are named and stepped by, and the clock while it plays; where it has no
 * picture another camera is, or else the browser's clock.
 *
 * Events: `time` (time or frame changed), `state` (playing, speed or loop changed), `active` (another camera is),
 * `shown` (paused, and the active camera's frame is on screen), `settled` (so are those of all cameras), `unplayable`
 * (no camera is left that plays; the clock goes on without).
 */
export class Player extends EventTarget {
  /**
   * @param {Camera[]} cameras
   * @param {number} totalMs where the time line ends
   * @param {FrameTable} rows what is stepped through without a camera
   */
  constructor(cameras, totalMs, rows = new FrameTable([])) {
    super();
    this.cameras = cameras;
    this.totalMs = totalMs;
    this.rows = rows;
    this.timeMs = 0;
    this.frame = 0;
    this.playing = false;
    this.rate = 1;
    this.loop = null; // { startMs, endMs, on }
    this.active = Math.max(0, cameras.findIndex((camera) => !camera.failed));
    this.leader = null; // the camera that is the clock
    this.ticker = new Ticker((passedMs) => this.#tick(passedMs));
    this.followersMs = null; // the time that the paused followers were told last
    for (const camera of cameras) this.#listen(camera);
  }

  /** The active camera; null where none plays. */
  get camera() {
    const camera = this.cameras[this.active];
    return camera && !camera.failed ? camera : null;
  }

  /** What one steps through: the active camera's frames, or rows. */
  get frames() {
    if (this.camera) return this.camera.frames;
    return this.rows.count ? this.rows : (this.cameras[this.active]?.frames ?? this.rows);
  }

  /** The shortest decimal text of a time that means the same frame of every camera: what a link carries. */
  linkText(timeMs = this.timeMs) {
    const playable = this.cameras.filter((camera) => !camera.failed);
    return this.frames.linkText(timeMs, playable.map((camera) => camera.frames));
  }

  seek(timeMs) {
    const to = Math.min(Math.max(0, timeMs), this.totalMs);
    if (this.playing) {
      this.#jump(to);
    } else {
      this.#moveTo(to);
      this.#showAll();
    }
  }

  /** Moves by frames of the active camera, and stops there. */
  step(count) {
    this.pause();
    const { frames, frame } = this;
    // Before a camera's first frame there is one to step to only ahead.
    if (!frames.count || (frame < 0 && count < 0)) return;
    this.seek(frames.startOf(Math.min(Math.max(0, frame + count), frames.count - 1)));
  }

  play() {
    if (this.playing) return;
    const { loop } = this;
    this.playing = true;
    this.leader = null;
    this.#emit("state");
    if (loop?.on && (this.timeMs < loop.startMs - ROUNDING_MS || this.timeMs >= loop.endMs - ROUNDING_MS)) {
      this.#moveTo(loop.startMs);
    } else if (this.timeMs >= lastMsOf(this.cameras, this.totalMs) - ROUNDING_MS) {
      this.#moveTo(0);
    }
    this.#drive();
  }

  pause() {
    if (this.playing) this.#halt();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  setRate(rate) {
    this.rate = rate;
    for (const camera of this.cameras) camera.video.playbackRate = rate;
    this.#emit("state");
  }

  /** Sets the range that is played again and again; null: none. */
  setLoop(loop) {
    this.loop = loop && loop.endMs - loop.startMs > ROUNDING_MS ? loop : null;
    this.#emit("state");
  }

  /** Makes another camera the one that is named and stepped by. */
  activate(index) {
    const camera = this.cameras[index];
    if (!camera || camera.failed || index === this.active) return;
    this.active = index;
    this.#emit("active");
    this.#moveTo(this.timeMs);
    if (this.playing) this.#drive();
    else this.#showAll();
  }

  /** Says whether somebody sees a camera; one that nobody sees rests. */
  watch(camera, watched) {
    if (camera.watched === watched) return;
    camera.watched = watched;
    if (!watched) camera.hold();
    else if (!this.playing) camera.show(this.timeMs);
    if (this.playing) this.#drive();
    else this.#settle();
  }

  #halt() {
    if (!this.playing) return;
    this.playing = false;
    this.leader = null;
    this.#emit("state");
    this.#showAll();
  }

  #moveTo(timeMs) {
    this.timeMs = timeMs;
    const { camera, frames } = this;
    if (!camera) this.frame = frames.count ? frames.frameAt(timeMs) : 0;
    // The one on screen, also while it catches up with another camera that is the clock.
    else if (camera.running && camera.runsAt(timeMs)) this.frame = camera.presented;
    else this.frame = camera.frameAt(timeMs);
    this.#emit("time");
  }

  /** Brings every paused camera to the current time: the active one first, since it is what is looked at. */
  #showAll() {
    this.followersMs = null;
    if (this.camera) this.camera.show(this.timeMs);
    else this.#showFollowers();
  }

  #showFollowers() {
    if (this.playing || this.followersMs === this.timeMs) return;
    this.followersMs = this.timeMs;
    for (const camera of this.cameras) if (camera !== this.camera) camera.show(this.timeMs);
    this.#settle();
  }

  #settle() {
    if (this.playing) return;
    if (!this.camera || this.camera.settled) this.#emit("shown");
    if (this.followersMs === this.timeMs && this.cameras.every((camera) => camera.settled)) this.#emit("settled");
  }

  /** Moves on to a time while it plays. */
  #jump(timeMs) {
    for (const camera of this.cameras) {
      camera.finished = false;
      if (camera.playing && camera.runsAt(timeMs)) camera.jump(timeMs);
    }
    this.#moveTo(timeMs);
    this.#drive();
  }

  /** Starts the cameras that have a picture of the current time, stops the others, and says who is the clock. */
  #drive() {
    const { timeMs, rate } = this;
    for (const camera of this.cameras) {
      if (camera.runsAt(timeMs)) camera.play(timeMs, rate);
      else if (camera.playing || camera.picture !== camera.coverage(timeMs)) camera.show(timeMs);
    }
    const before = this.leader;
    this.leader = chooseLeader(this.cameras, this.camera, before, timeMs);
    if (this.leader && this.leader !== before) this.leader.video.playbackRate = rate;
    if (!this.leader) this.ticker.start();
  }

  #listen(camera) {
    camera.addEventListener("frame", () => {
      if (this.playing && camera === this.leader) this.#follow(camera);
      else if (this.playing && camera === this.camera) this.#moveTo(this.timeMs);
    });
    camera.addEventListener("waiting", () => {
      if (!this.playing || camera !== this.leader) return;
      // The others would run ahead of the clock.
      for (const other of this.cameras) if (other !== camera) other.hold();
    });
    camera.addEventListener("ended", () => {
      if (this.playing && camera === this.leader) this.#end(camera);
    });
    camera.addEventListener("refused", () => {
      if (camera === this.leader) this.#halt();
      else camera.hold();
    });
    camera.addEventListener("landed", () => {
      if (camera === this.camera) this.#showFollowers();
    });
    camera.addEventListener("settled", () => {
      if (camera === this.camera) this.#showFollowers();
      this.#settle();
    });
    camera.addEventListener("failed", () => this.#lose(camera));
  }

  /** The camera that is the clock has put a frame on screen. */
  #follow(camera) {
    let timeMs = camera.frames.startOf(camera.presented);
    // Another camera may have led until now: the time does not go back within a frame.
    if (timeMs < this.timeMs && camera.frames.frameAt(this.timeMs) === camera.presented) timeMs = this.timeMs;
    if (this.loop?.on && timeMs >= this.loop.endMs - ROUNDING_MS) {
      this.#jump(this.loop.startMs);
      return;
    }
    this.#moveTo(timeMs);
    this.#drive();
    for (const other of this.cameras) {
      if (other === camera) continue;
      other.keepWith(camera.clockMs, this.rate);
      other.compareWith(timeMs, camera.frames.startOf(camera.presented + 1));
    }
  }

  #end(camera) {
    const { loop } = this;
    const { frames } = camera;
    const lastMs = frames.startOf(frames.count - 1);
    const isLast = lastMs >= lastMsOf(this.cameras, this.totalMs) - ROUNDING_MS;
    // Another camera, or the browser's clock, goes on to a loop's end that is beyond this one's.
    if (loop?.on && loop.endMs >= lastMs && (isLast || loop.endMs <= frames.endMs + ROUNDING_MS)) {
      this.#jump(loop.startMs);
      return;
    }
    this.#moveTo(lastMs);
    if (isLast) this.#halt();
    else this.#drive();
  }

  #lose(camera) {
    if (this.cameras.every((other) => other.failed)) {
      this.playing = false;
      this.leader = null;
      this.#emit("state");
      this.#emit("unplayable");
      this.#moveTo(this.timeMs);
      this.#showAll();
      return;
    }
    if (camera === this.cameras[this.active]) {
      this.active = this.cameras.findIndex((other) => !other.failed);
      this.#emit("active");
      this.#moveTo(this.timeMs);
    }
    if (this.playing) this.#drive();
    else this.#showAll();
  }

  /** The browser's clock has gone on, and no camera is one; returns whether it is still needed. */
  #tick(passedMs) {
    if (!this.playing || this.leader) return false;
    const timeMs = this.timeMs + passedMs * this.rate;
    if (this.loop?.on && timeMs >= this.loop.endMs) {
      this.#jump(this.loop.startMs);
    } else if (timeMs >= this.totalMs) {
      this.#moveTo(this.totalMs);
      this.#halt();
    } else {
      this.#moveTo(timeMs);
      this.#drive();
    }
    return this.playing && !this.leader;
  }

  #emit(name) {
    this.dispatchEvent(new Event(name));
  }
}
