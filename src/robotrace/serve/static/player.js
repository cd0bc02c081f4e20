// The one clock of the page. While a video plays it is the clock; otherwise this is, and the video follows.

import { FrameTable } from "./timeline.js";

// A frame that was on screen before a seek to it is not presented again, and a hidden tab presents none.
const PRESENTED_WITHIN_MS = 120;
// Chromium leaves out a seek to the time it last stopped at, even when it has moved on since: no two in a row are to
// the same one.
const SHARES = [0.5, 0.55];
// A video that is shorter than its table would be sought for ever.
const MOST_ATTEMPTS = 3;

/**
 * Holds the current time and frame, and keeps the `<video>` on exactly that frame.
 *
 * Events: `time` (time or frame changed), `state` (playing or speed changed), `settled` (paused, and the frame that
 * belongs to the time is the one on screen), `unplayable` (the video failed; the clock goes on without it).
 */
export class Player extends EventTarget {
  /**
   * @param {FrameTable} frames when the picture (or the main stream) changes
   * @param {number} totalMs where the time line ends
   * @param {HTMLVideoElement | null} video
   */
  constructor(frames, totalMs, video) {
    super();
    this.frames = frames;
    this.totalMs = totalMs;
    this.video = video;
    this.timeMs = 0;
    this.frame = 0;
    this.playing = false;
    this.rate = 1;
    this.shown = -1; // the frame the video was last brought to; -1: not known
    this.target = -1; // the frame of the seek under way
    this.presented = -1; // the frame last seen on screen since that seek began
    this.attempts = 0;
    this.seeks = 0;
    if (video) this.#follow(video);
  }

  seek(timeMs) {
    this.#moveTo(Math.min(Math.max(0, timeMs), this.totalMs));
    if (!this.video) this.#emit("settled");
    else if (this.playing) this.#seekVideo();
    else this.#show();
  }

  /** Moves by frames, and stops there. */
  step(count) {
    this.pause();
    if (!this.frames.count) return;
    const frame = Math.min(Math.max(0, this.frame + count), this.frames.count - 1);
    this.seek(this.frames.startOf(frame));
  }

  async play() {
    if (this.playing) return;
    const end = this.video ? this.frames.startOf(this.frames.count - 1) : this.totalMs;
    if (this.timeMs >= end) this.seek(0);
    this.playing = true;
    this.#emit("state");
    if (!this.video) {
      this.#tick(performance.now());
      return;
    }
    this.video.playbackRate = this.rate;
    try {
      await this.video.play();
    } catch {
      // Paused again before it began, or the browser wants a gesture first: either way it stands still.
      this.#halt();
    }
  }

  pause() {
    if (!this.playing) return;
    this.video?.pause();
    this.#halt();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  setRate(rate) {
    this.rate = rate;
    if (this.video) this.video.playbackRate = rate;
    this.#emit("state");
  }

  #halt() {
    if (!this.playing) return;
    this.playing = false;
    this.#emit("state");
    // The player may have put one more frame on screen than it reported, or gone on from where a seek under way led:
    // neither is trusted, it is brought to the frame that is named.
    this.shown = -1;
    this.target = -1;
    if (this.video) this.#show();
    else this.#emit("settled");
  }

  #moveTo(timeMs) {
    this.timeMs = timeMs;
    this.frame = this.frames.count ? this.frames.frameAt(timeMs) : 0;
    this.#emit("time");
  }

  /** Brings the paused video to the current frame; requests that come during a seek wait, and only the last counts. */
  #show() {
    if (this.target >= 0) return;
    if (this.shown === this.frame) {
      this.#settle();
      return;
    }
    this.target = this.frame;
    this.presented = -1;
    this.#seekVideo();
  }

  #seekVideo() {
    this.seeks += 1;
    this.video.currentTime = this.frames.middleOf(this.frame, SHARES[this.seeks % SHARES.length]) / 1000;
  }

  /** A finished seek says that the frame is decoded; on screen it comes a moment later. */
  #settle() {
    clearTimeout(this.settleTimer);
    if (this.presented === this.frame) {
      this.#emit("settled");
      return;
    }
    this.settleTimer = setTimeout(() => {
      if (this.playing || this.target >= 0 || this.shown !== this.frame) return;
      this.presented = this.frame;
      this.#emit("settled");
    }, PRESENTED_WITHIN_MS);
  }

  #follow(video) {
    video.addEventListener("seeked", () => {
      // Word of an older seek, on its way while the next one began.
      if (video.seeking) return;
      // While it plays nothing waits for a seek; a pause begins one of its own.
      if (this.target < 0) return;
      const landed = this.frames.frameAt(video.currentTime * 1000) === this.target;
      this.attempts = landed ? 0 : this.attempts + 1;
      this.shown = landed || this.attempts >= MOST_ATTEMPTS ? this.target : -1;
      this.target = -1;
      if (!this.playing) this.#show();
    });
    video.addEventListener("ended", () => {
      if (!this.playing) return;
      this.#moveTo(this.frames.startOf(this.frames.count - 1));
      this.#halt();
    });
    video.addEventListener("error", () => {
      this.video = null;
      this.target = -1;
      this.playing = false;
      this.#emit("state");
      this.#emit("unplayable");
      this.#emit("settled");
    });
    // Browsers without frame callbacks say only roughly where they are: good enough while it moves, and a pause
    // seeks to the exact frame anyway.
    const exact = "requestVideoFrameCallback" in video;
    const next = () => (exact ? video.requestVideoFrameCallback(onFrame) : requestAnimationFrame(onFrame));
    const onFrame = (_now, presented) => {
      if (this.video !== video) return;
      if (!video.seeking) {
        this.presented = this.frames.frameAt((presented?.mediaTime ?? video.currentTime) * 1000);
        if (this.playing) this.#moveTo(this.frames.startOf(this.presented));
        else if (exact && this.target < 0) this.#show();
      }
      next();
    };
    next();
  }

  #tick(before) {
    requestAnimationFrame((now) => {
      if (!this.playing || this.video) return;
      const timeMs = this.timeMs + Math.max(0, now - before) * this.rate;
      this.#moveTo(Math.min(timeMs, this.totalMs));
      if (timeMs >= this.totalMs) this.#halt();
      else this.#tick(now);
    });
  }

  #emit(name) {
    this.dispatchEvent(new Event(name));
  }
}
