// The episode page: fetches what is drawn, and wires player, cameras, transport and charts to one clock.

import { followAddress } from "./address.js";
import { CameraWall, videosIn, viewsIn } from "./cameras.js";
import { ChartStack } from "./charts.js";
import { wireCopyButtons } from "./clipboard.js";
import { wireKeyboard } from "./keyboard.js";
import { listSkipped, loadCameras, loadSeries, rowTable, say } from "./load.js";
import { LoopBar } from "./loop.js";
import { Marks, marksOf } from "./marks.js";
import { Player } from "./player.js";
import { Transport } from "./transport.js";

async function start() {
  wireCopyButtons();
  const page = document.getElementById("episode");
  const workspace = document.getElementById("workspace");
  if (!workspace) return;
  const stage = document.getElementById("player");
  // Nothing waits for the other: the page names what the JSON would name, too.
  const [twin, series, cameras] = await Promise.all([
    fetch(page.dataset.json).then((answer) => answer.json()),
    loadSeries(workspace.dataset.series),
    loadCameras(viewsIn(stage), videosIn(stage)),
  ]);

  const rows = rowTable(series.streams);
  const lastSample = Math.max(0, ...series.streams.map((stream) => stream.endMs));
  const endMs = Math.max(0, ...cameras.map((camera) => camera.frames.endMs));
  const totalMs = Math.max(endMs, lastSample) || (twin.episode.duration_s ?? 0) * 1000;

  const player = new Player(cameras, totalMs, rows);
  const wall = new CameraWall(stage, player);
  const transport = new Transport(player);
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
  const marks = new Marks(player, marksOf(twin, totalMs), charts);
  const loop = new LoopBar(player, () => (charts?.isZoomed ? { startMs: charts.startMs, endMs: charts.endMs } : null));
  wireKeyboard({ player, transport, loop, marks, wall });

  const sayUnplayable = () =>
    say("video-note", "This browser cannot play the video. It can still be downloaded below.");
  player.addEventListener("unplayable", sayUnplayable);
  if (cameras.length && !player.camera) sayUnplayable();
  player.addEventListener("shown", () => (document.documentElement.dataset.ready = "true"), { once: true });
  followAddress(player);
}

start();
