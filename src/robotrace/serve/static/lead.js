// Which camera is the clock while cameras play, and how the others keep with it. No state but the ticker's.

// Streams that end this little after the last picture are not worth a clock without one.
const TAIL_MS = 100;
// A hidden tab ticks rarely: the clock stands still there rather than jump.
const LONGEST_TICK_MS = 250;
// Further off than this, a seek is what brings a camera back; nearer, a little more or less speed.
const FAR_MS = 300;
const NEAR_MS = 6;
const NUDGE = 0.25;
const NUDGE_ALL_MS = 60;

/**
 * The camera that is the clock at a time; null where none has a picture.
 *
 * @param {Camera[]} cameras
 * @param {Camera | null} active the one that is looked at, and is to be the clock
 * @param {Camera | null} leader the one that is the clock
 */
export function chooseLeader(cameras, active, leader, timeMs) {
  const led = leader?.runsAt(timeMs);
  if (active?.runsAt(timeMs)) {
    // One that has only begun would hold up the others, or bring them back.
    const abreast = active.running && active.presented >= active.frames.frameAt(timeMs);
    if (!led || leader === active || abreast) return active;
  }
  return led ? leader : (cameras.find((camera) => camera.runsAt(timeMs)) ?? null);
}

/** Where playing ends: with the last frame, unless the streams go on well beyond it. */
export function lastMsOf(cameras, totalMs) {
  const playable = cameras.filter((camera) => !camera.failed).map((camera) => camera.frames);
  if (totalMs - Math.max(-Infinity, ...playable.map((frames) => frames.endMs)) > TAIL_MS) return totalMs;
  return Math.max(...playable.map((frames) => frames.startOf(frames.count - 1)));
}

/** The speed at which a video that is so far off comes back to the clock; null when it has to be sought. */
export function speedFor(offMs, rate, speed) {
  const size = Math.abs(offMs);
  if (size > FAR_MS * Math.max(1, rate)) return null;
  if (size > NEAR_MS) return rate * (1 - Math.sign(offMs) * NUDGE * Math.min(1, size / NUDGE_ALL_MS));
  return size < NEAR_MS / 2 ? rate : speed;
}

/** The browser's clock, for when no camera is one. */
export class Ticker {
  /** @param {(passedMs: number) => boolean} tick returns whether it goes on */
  constructor(tick) {
    this.tick = tick;
    this.running = false;
  }

  start() {
    if (this.running) return;
    this.running = true;
    const next = (before) =>
      requestAnimationFrame((now) => {
        this.running = this.tick(Math.min(Math.max(0, now - before), LONGEST_TICK_MS));
        if (this.running) next(now);
      });
    next(performance.now());
  }
}
