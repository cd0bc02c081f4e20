// The episode page: fetches what is drawn, and wires player, transport and charts to one clock.

import { ChartStack } from "./charts.js";
import { wireCopyButtons } from "./clipboard.js";
import { Player } from "./player.js";
import { fetchSeries } from "./series.js";
import { FrameTable, formatTime, parseTime } from "./timeline.js";
import { Transport } from "./transport.js";

const NO_SERIES = { streams: [], texts: [], skipped: [] };

function say(id, text) {
  const place = document.getElementById(id);
  place.textContent = text;
  place.hidden = false;
}

async function fetchFrames(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  return new FrameTable(new Float64Array(await answer.arrayBuffer()));
}

/** Resolves to the element once its size and length are known, to null when it cannot be played. */
function videoReady(video) {
  if (video.error) return null;
  if (video.readyState >= HTMLMediaElement.HAVE_METADATA) return video;
  return new Promise((resolve) => {
    video.addEventListener("loadedmetadata", () => resolve(video), { once: true });
    video.addEventListener("error", () => resolve(null), { once: true });
  });
}

function hideVideo(text) {
  document.getElementById("video").hidden = true;
  say("video-note", text);
}

/** Without a video the longest stream's rows are what one steps through. */
function rowTable(streams) {
  const whole = streams.filter((stream) => !stream.decimated && stream.time.length);
  const main = whole.find((stream) => stream.name.startsWith("observation")) ?? whole[0];
  if (!main) return new FrameTable(new Float64Array(0));
  const edges = new Float64Array(main.time.length + 1);
  edges.set(main.time);
  edges[main.time.length] = main.time[main.time.length - 1];
  return new FrameTable(edges);
}

function listSkipped(skipped) {
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

function markFailure(charts, failureMs, totalMs) {
  const at = Math.min(failureMs, totalMs);
  const mark = document.createElement("div");
  mark.className = "mark failure";
  const label = document.createElement("span");
  label.textContent = "failure";
  mark.append(label);
  charts?.addMark(at, mark);
  const tick = document.createElement("i");
  tick.title = `Failure at ${formatTime(failureMs)} s`;
  tick.style.left = `${totalMs ? (at / totalMs) * 100 : 0}%`;
  document.getElementById("scrub-marks").append(tick);
}

/** Where the findings begin: a tick on the scrubber each, numbered as they are listed; their links go there. */
function markFindings(player, totalMs) {
  document.querySelectorAll(".finding[data-onset-ms]").forEach((item) => {
    const onsetMs = Number(item.dataset.onsetMs);
    const tick = document.createElement("i");
    tick.className = "finding-tick";
    tick.title = `${item.querySelector(".finding-title").textContent} at ${formatTime(onsetMs)} s`;
    tick.style.left = `${totalMs ? (Math.min(onsetMs, totalMs) / totalMs) * 100 : 0}%`;
    document.getElementById("scrub-marks").append(tick);
    item.querySelector("a.figure").addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      player.pause();
      player.seek(onsetMs);
      document.getElementById("workspace").scrollIntoView({ block: "start" });
    });
  });
}

async function loadSeries(url) {
  try {
    return await fetchSeries(url);
  } catch (error) {
    say("charts-note", `The streams could not be read: ${error.message}`);
    return NO_SERIES;
  }
}

async function loadVideo(twin) {
  if (!twin.video) return null;
  try {
    const [frames, video] = await Promise.all([
      fetchFrames(twin.video.frames_url),
      videoReady(document.getElementById("video")),
    ]);
    if (!video || !frames.count) {
      hideVideo("This browser cannot play the video. It can still be downloaded below.");
      return null;
    }
    return { frames, video };
  } catch (error) {
    hideVideo(`The video could not be read: ${error.message}`);
    return null;
  }
}

async function start() {
  wireCopyButtons();
  const page = document.getElementById("episode");
  const workspace = document.getElementById("workspace");
  if (!workspace) return;
  const twin = await (await fetch(page.dataset.json)).json();
  const [series, picture] = await Promise.all([loadSeries(twin.series_url), loadVideo(twin)]);

  const frames = picture?.frames ?? rowTable(series.streams);
  const lastSample = Math.max(0, ...series.streams.map((stream) => stream.endMs));
  const totalMs = Math.max(frames.endMs, lastSample) || (twin.episode.duration_s ?? 0) * 1000;
  const failureS = twin.episode.failure_time_s;
  const failureMs = failureS === null ? null : failureS * 1000;

  const player = new Player(frames, totalMs, picture?.video ?? null);
  new Transport(player, { unit: picture ? "frame" : "row", failureMs });
  let charts = null;
  if (series.streams.length) {
    workspace.classList.add("has-charts");
    charts = new ChartStack(document.getElementById("stack"), {
      series,
      seriesUrl: twin.series_url,
      totalMs,
      onSeek: (timeMs) => player.seek(timeMs),
      choicesKey: twin.episode.robot ?? twin.episode.metadata.env?.id ?? twin.episode.env_version,
    });
    player.addEventListener("time", () => charts.setTime(player.timeMs, player.playing));
  } else if (document.getElementById("charts-note").hidden) {
    say("charts-note", "This episode carries no numeric streams.");
  }
  listSkipped(series.skipped);
  if (failureMs !== null) markFailure(charts, failureMs, totalMs);
  markFindings(player, totalMs);

  player.addEventListener("unplayable", () => hideVideo("The video stopped playing: its file cannot be decoded."));
  player.addEventListener("settled", () => (document.documentElement.dataset.ready = "true"), { once: true });
  player.seek(parseTime(new URLSearchParams(location.search).get("t")) ?? 0);
}

start();
