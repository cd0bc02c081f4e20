// The episode page: fetches what is drawn, and wires player, cameras, transport and charts to one clock.

import { CameraWall, videosIn } from "./cameras.js";
import { ChartStack } from "./charts.js";
import { wireCopyButtons } from "./clipboard.js";
import { listSkipped, loadCameras, loadSeries, rowTable, say } from "./load.js";
import { markFailure, markFindings } from "./marks.js";
import { Player } from "./player.js";
import { parseTime } from "./timeline.js";
import { Transport } from "./transport.js";

async function start() {
  wireCopyButtons();
  const page = document.getElementById("episode");
  const workspace = document.getElementById("workspace");
  if (!workspace) return;
  const twin = await (await fetch(page.dataset.json)).json();
  const stage = document.getElementById("player");
  const [series, cameras] = await Promise.all([
    loadSeries(twin.series_url),
    loadCameras(twin.cameras, videosIn(stage)),
  ]);

  const rows = rowTable(series.streams);
  const lastSample = Math.max(0, ...series.streams.map((stream) => stream.time.at(-1) ?? 0));
  const endMs = Math.max(0, ...cameras.map((camera) => camera.frames.endMs));
  const totalMs = Math.max(endMs, lastSample) || (twin.episode.duration_s ?? 0) * 1000;
  const failureS = twin.episode.failure_time_s;
  const failureMs = failureS === null ? null : failureS * 1000;

  const player = new Player(cameras, totalMs, rows);
  new CameraWall(stage, player);
  new Transport(player, { failureMs });
  let charts = null;
  if (series.streams.length) {
    workspace.classList.add("has-charts");
    charts = new ChartStack(document.getElementById("stack"), {
      series,
      seriesUrl: twin.series_url,
      totalMs,
      onSeek: (timeMs) => player.seek(timeMs),
    });
    player.addEventListener("time", () => charts.setTime(player.timeMs, player.playing));
  } else if (document.getElementById("charts-note").hidden) {
    say("charts-note", "This episode carries no numeric streams.");
  }
  listSkipped(series.skipped);
  if (failureMs !== null) markFailure(charts, failureMs, totalMs);
  markFindings(player, totalMs);

  player.addEventListener("unplayable", () =>
    say("video-note", "This browser cannot play the video. It can still be downloaded below."),
  );
  player.addEventListener("shown", () => (document.documentElement.dataset.ready = "true"), { once: true });
  player.seek(parseTime(new URLSearchParams(location.search).get("t")) ?? 0);
}

start();
