// One camera: a `<video>` that is kept on exactly the frame that belongs to a time.

import { speedFor } from "./lead.js";
import { FrameTable, ROUNDING_MS } from "./timeline.js";

// A frame that was on screen before a seek to it is not presented again: it is waited for this long.
const SAME_FRAME_MS = 120;
// Any other one is, late on a busy machine; but a hidden tab presents none.
const OTHER_FRAME_MS = 3000;
// A busy browser may paint a frame on the way to the wanted one, and stay there: it is sought again after this long.
const ON_THE_WAY_MS = 500;
// Chromium leaves out a seek to the time it last stopped at, even when it has moved on since: no two in a row are to
// the same one.
const SHARES = [0.5, 0.55];
// A video that is shorter than its table would be sought for ever.
const MOST_ATTEMPTS = 3;

/**
 * Events: `frame` (another frame is on screen while it plays), `landed` (a seek is done), `settled` (it stands still on
 * the wanted frame), `waiting` (it plays and has no data), `refused` (the browser does not let it play), `ended`,
 * `failed` (the file cannot be played), `picture` (`picture` or `synced` has changed).
 */
export class Camera extends EventTarget {
  /**
   * @param {HTMLVideoElement} video its first track is the camera
   * @param {FrameTable} frames when each frame is shown, on the video's own clock
   * @param {{key?: string, name?: string, offsetMs?: number}} options `offsetMs`: what the page's clock says at the
   *   video's 0; only a page of several episodes needs it
   */
  constructor(video, frames, { key = "video", name = "video", offsetMs = 0 } = {}) {
    super();
    this.video = video;
    this.offsetMs = offsetMs;
    this.frames = offsetMs ? new FrameTable(frames.edges.map((edge) => edge + offsetMs)) : frames;
    this.key = key;
    this.name = name;
    this.watched = true; // false: nobody sees it, so it need not follow
    this.failed = false;
    this.playing = false;
    this.running = false; // it plays, and a frame has come
    this.finished = false; // it has played to its end
    this.synced = true; // while it plays: it is within a frame of the clock
    this.picture = "loading"; // or `before` its first frame, `shown`, `after` its last one, `failed`
    this.loaded = false; // something was on screen
    this.wanted = -1; // the frame it is to be on while paused
    this.shown = -1; // the frame it was last brought to; -1: not known
    this.target = -1; // the frame of the seek under way
    this.presented = -1; // the frame last seen on screen since that seek began
    this.before = -1; // the one that was on screen when it began
    this.settledOn = -1;
    this.attempts = 0;
    this.repeats = 0;
    this.seeks = 0;
    this.#follow();
    if (video.error) this.fail();
  }

  /** Whether there is a picture of a time (`shown`), or it is `before` the first or `after` the last one. */
  coverage(timeMs) {
    const { frames } = this;
    if (frames.isBefore(timeMs)) return "before";
    // The last frame stays for once more its length: streams end a step later than their video.
    const grace = frames.endMs - frames.startOf(frames.count - 1);
    return timeMs > frames.endMs + grace + ROUNDING_MS ? "after" : "shown";
  }

  /** Whether it plays on from a time. */
  runsAt(timeMs) {
    const { frames } = this;
    if (this.failed || !this.watched || frames.isBefore(timeMs)) return false;
    return timeMs < (this.finished ? frames.startOf(frames.count - 1) : frames.endMs) - ROUNDING_MS;
  }

  /** The frame that belongs to a time, -1 before the first one. */
  frameAt(timeMs) {
    return this.coverage(timeMs) === "before" ? -1 : this.frames.frameAt(timeMs);
  }

  get settled() {
    return this.failed || !this.watched || (this.target < 0 && this.wanted >= 0 && this.settledOn === this.wanted);
  }

  /** Where the video is, by its own clock. */
  get clockMs() {
    return this.video.currentTime * 1000 + this.offsetMs;
  }

  /** Stops, and goes to the frame of a time; calls that come during a seek wait, and only the last counts. */
  show(timeMs) {
    this.#halt();
    if (this.failed) return;
    this.finished = false;
    this.wanted = this.frames.frameAt(timeMs);
    this.settledOn = -1;
    this.repeats = 0;
    this.#setPicture(this.coverage(timeMs));
    if (this.watched) this.#bring();
  }

  /** Plays from a time on. */
  async play(timeMs, rate) {
    if (this.playing || this.failed || !this.watched) return;
    this.playing = true;
    this.settledOn = -1;
    this.#setPicture("shown");
    this.video.playbackRate = rate;
    // Where a pause brought it, or the seek under way does, it goes on from.
    const at = this.target >= 0 ? this.target : this.shown;
    this.target = -1;
    this.shown = -1;
    if (at !== this.frames.frameAt(timeMs)) this.jump(timeMs);
    try {
      await this.video.play();
    } catch {
      // Paused again before it began, or the browser wants a gesture first: either way it stands still.
      if (this.playing) this.#emit("refused");
    }
  }

  /** Moves to a time while it plays. */
  jump(timeMs) {
    this.finished = this.running = false;
    this.#seekTo(this.frames.frameAt(timeMs));
    // At its end a browser has stopped it.
    if (this.playing && this.video.paused) this.video.play().catch(() => this.#emit("refused"));
  }

  /** Stops where it is, to go on when the clock does. */
  hold() {
    this.#halt();
  }

  /** Keeps a playing video with a clock: by its speed when it is a little off, by a seek when it is far off. */
  keepWith(timeMs, rate) {
    const { video } = this;
    if (!this.playing || video.seeking || video.ended) return;
    const speed = speedFor(this.clockMs - timeMs, rate, video.playbackRate);
    if (speed === null) this.jump(timeMs);
    else if (speed !== video.playbackRate) video.playbackRate = speed;
  }

  /** Notes whether the frame on screen is within one of those that belong to a frame of the clock's camera. */
  compareWith(startMs, endMs) {
    const { frames, presented } = this;
    const synced =
      !this.playing || (presented >= frames.frameAt(startMs) - 1 && presented <= frames.frameAt(endMs) + 1);
    if (synced === this.synced) return;
    this.synced = synced;
    this.#emit("picture");
  }

  fail() {
    if (this.failed) return;
    this.failed = true;
    this.playing = this.running = false;
    this.target = -1;
    this.#setPicture("failed");
    this.#emit("failed");
  }

  #halt() {
    this.synced = true;
    if (!this.playing) return;
    this.playing = this.running = false;
    this.video.pause();
    // The player may have put one more frame on screen than it reported, or gone on from where a seek under way led:
    // neither is trusted, it is brought to the frame that is named.
    this.shown = -1;
    this.target = -1;
  }

  #bring() {
    if (this.target >= 0) return;
    if (this.shown === this.wanted) {
      this.#settle();
      return;
    }
    this.target = this.wanted;
    if (this.presented >= 0) this.before = this.presented;
    this.presented = -1;
    this.#seekTo(this.wanted);
  }

  #seekTo(frame) {
    this.seeks += 1;
    const middleMs = this.frames.middleOf(frame, SHARES[this.seeks % SHARES.length]) - this.offsetMs;
    this.video.currentTime = middleMs / 1000;
  }

  /** A finished seek says that the frame is decoded; on screen it comes a moment later. */
  #settle() {
    clearTimeout(this.settleTimer);
    const finish = () => {
      this.settledOn = this.wanted;
      this.#load();
      this.#emit("settled");
    };
    if (this.presented === this.wanted) {
      finish();
      return;
    }
    const isOther = this.presented >= 0;
    const waitMs = isOther ? ON_THE_WAY_MS : this.before === this.wanted ? SAME_FRAME_MS : OTHER_FRAME_MS;
    this.settleTimer = setTimeout(() => {
      if (this.playing || this.target >= 0 || this.shown !== this.wanted) return;
      if (isOther && this.repeats < MOST_ATTEMPTS) {
        this.repeats += 1;
        this.shown = -1;
        this.#bring();
        return;
      }
      this.presented = this.wanted;
      finish();
    }, waitMs);
  }

  #follow() {
    const { video } = this;
    video.addEventListener("seeked", () => {
      // Word of an older seek, on its way while the next one began.
      if (video.seeking) return;
      // While it plays nothing waits for a seek; a pause begins one of its own.
      if (this.target < 0) return;
      const landed = this.frames.frameAt(this.clockMs) === this.target;
      this.attempts = landed ? 0 : this.attempts + 1;
      this.shown = landed || this.attempts >= MOST_ATTEMPTS ? this.target : -1;
      this.target = -1;
      if (this.playing) return;
      this.#emit("landed");
      this.#bring();
    });
    video.addEventListener("ended", () => {
      if (!this.playing) return;
      this.playing = this.running = false;
      this.finished = true;
      this.shown = -1;
      this.#emit("ended");
    });
    // A browser stops a video that nobody sees, or to save energy.
    video.addEventListener("pause", () => {
      if (this.playing && video.paused && !video.ended) this.#emit("refused");
    });
    video.addEventListener("waiting", () => {
      if (this.playing && !video.seeking) this.#emit("waiting");
    });
    video.addEventListener("error", () => this.fail());
    // Browsers without frame callbacks say only roughly where they are: good enough while it moves, and a pause
    // seeks to the exact frame anyway.
    const exact = "requestVideoFrameCallback" in video;
    const next = () => (exact ? video.requestVideoFrameCallback(onFrame) : requestAnimationFrame(onFrame));
    const onFrame = (_now, metadata) => {
      if (this.failed) return;
      // Of a paused video the word of a frame often comes before that of the seek that led to it.
      if (!video.seeking || (exact && !this.playing)) {
        const timeMs = (metadata?.mediaTime ?? video.currentTime) * 1000 + this.offsetMs;
        this.presented = this.frames.frameAt(timeMs);
      }
      if (!video.seeking) {
        if (this.playing) {
          this.running = true;
          this.#load();
          this.#emit("frame");
        } else if (exact && this.target < 0 && this.wanted >= 0) {
          this.#bring();
        }
      }
      next();
    };
    next();
  }

  #load() {
    if (this.loaded) return;
    this.loaded = true;
    if (this.picture === "loading") this.#setPicture("shown");
  }

  #setPicture(picture) {
    const now = picture === "shown" && !this.loaded ? "loading" : picture;
    if (this.picture === now) return;
    this.picture = now;
    this.#emit("picture");
  }

  #emit(name) {
    this.dispatchEvent(new Event(name));
  }
}
