// What the page of an episode is made of, fetched: cameras with their frame times, and the series.

import { Camera } from "./camera.js";
import { fetchSeries } from "./series.js";
import { FrameTable } from "./timeline.js";

/** Puts a text where the page has a place for it. */
export function say(id, text) {
  const place = document.getElementById(id);
  place.textContent = text;
  place.hidden = false;
}

async function fetchFrames(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  return new FrameTable(new Float64Array(await answer.arrayBuffer()));
}

/**
 * The cameras of an episode; one whose times cannot be had has failed.
 *
 * @param {{key: string, name: string, frames_url: string}[]} views `cameras` of the episode's JSON
 * @param {Map<string, HTMLVideoElement>} videos by key
 * @param {{prefix?: string, offsetMs?: number}} options `prefix` tells the cameras of several episodes apart; of
 *   `offsetMs` see `Camera`
 */
export function loadCameras(views, videos, { prefix = "", offsetMs = 0 } = {}) {
  return Promise.all(
    views.map(async (view) => {
      const settings = { offsetMs, key: prefix + view.key, name: view.name };
      try {
        return new Camera(videos.get(view.key), await fetchFrames(view.frames_url), settings);
      } catch {
        const camera = new Camera(videos.get(view.key), new FrameTable(new Float64Array(0)), settings);
        camera.fail();
        return camera;
      }
    }),
  );
}

/** The series of an episode, or none with the reason on the page. */
export async function loadSeries(url) {
  try {
    return await fetchSeries(url);
  } catch (error) {
    say("charts-note", `The streams could not be read: ${error.message}`);
    return { streams: [], texts: [], skipped: [] };
  }
}

/** Without a camera the longest stream's rows are what one steps through. */
export function rowTable(streams) {
  const whole = streams.filter((stream) => !stream.decimated && stream.time.length);
  const main = whole.find((stream) => stream.name.startsWith("observation")) ?? whole[0];
  if (!main) return new FrameTable(new Float64Array(0));
  const edges = new Float64Array(main.time.length + 1);
  edges.set(main.time);
  edges[main.time.length] = main.time[main.time.length - 1];
  return new FrameTable(edges);
}

/** Says which streams are not drawn, and why. */
export function listSkipped(skipped) {
  if (!skipped.length) return;
  const place = document.getElementById("skipped");
  place.hidden = false;
  place.querySelector("summary").textContent =
    skipped.length === 1 ? "1 stream is not drawn" : `${skipped.length} streams are not drawn`;
  place.querySelector("ul").replaceChildren(
    ...skipped.map((stream) => {
      const item = document.createElement("li");
      const name = document.createElement("code");
      name.textContent = stream.name;
      item.append(name, ` ${stream.dtype} [${(stream.shape ?? []).join(", ")}] × ${stream.count}: ${stream.reason}`);
      return item;
    }),
  );
}
