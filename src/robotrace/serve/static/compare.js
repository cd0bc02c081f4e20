// The compare page: the cameras and curves of two episodes on one clock.

import { followAddress } from "./address.js";
import { CameraWall, videosIn } from "./cameras.js";
import { ChartStack } from "./charts.js";
import { wireCopyButtons } from "./clipboard.js";
import { CameraSides } from "./compare_cameras.js";
import { wireKeyboard } from "./keyboard.js";
import { loadCameras, loadSeries, rowTable, say } from "./load.js";
import { LoopBar } from "./loop.js";
import { Marks } from "./marks.js";
import { Player } from "./player.js";
import { Transport } from "./transport.js";

const SIDES = ["a", "b"];
const DIFFERENCE = /[ .]\|A − B\|$/;
const NEUTRAL_LINE = 6;
// Where both run for less than this share of the time, the charts open on that part.
const MOSTLY = 0.7;
const AIR = 0.1;

const sideOf = (side) => document.querySelector(`.compare-side[data-side=${side}]`);

/** The curves of both, and of how far they are apart; what only one has is listed on the page, not drawn. */
function chartSources(twin, series, difference) {
  const common = new Set(twin.compared.streams.map((stream) => `${stream.artifact}/${stream.name}`));
  const sources = SIDES.map((side, index) => ({
    label: side.toUpperCase(),
    series: { streams: series[index].streams.filter((stream) => common.has(`${stream.artifact}/${stream.name}`)) },
    seriesUrl: twin[side].series_url,
    offsetMs: twin[side].begins_ms,
  }));
  return [...sources, { series: difference, seriesUrl: twin.compared.difference_url, offsetMs: 0, colour: NEUTRAL_LINE }];
}

/** Each difference right below the stream it is of. */
function orderCharts(charts) {
  const isDifference = (chart) => DIFFERENCE.test(chart.key);
  const ofStream = new Map(
    charts.charts.filter(isDifference).map((chart) => [chart.key.replace(DIFFERENCE, ""), chart]),
  );
  const streams = charts.charts.filter((chart) => !isDifference(chart));
  charts.list.fill(streams.flatMap((chart) => [chart, ...(ofStream.has(chart.key) ? [ofStream.get(chart.key)] : [])]));
}

/** Opens the charts where there is something to compare: one may have fallen in the first second of ten. */
function zoomToCommon(charts, spans, totalMs) {
  const startMs = Math.max(...spans.map((span) => span.startMs));
  const endMs = Math.min(...spans.map((span) => span.endMs));
  const length = endMs - startMs;
  if (length <= 0 || length > totalMs * MOSTLY) return;
  charts.zoomTo(Math.max(0, startMs - length * AIR), Math.min(totalMs, endMs + length * AIR));
}

/** The ruler stays below the pictures, however tall they are. */
function keepRulerBelow(stage) {
  const workspace = document.getElementById("workspace");
  new ResizeObserver(() => workspace.style.setProperty("--stage-height", `${stage.offsetHeight}px`)).observe(stage);
}

/** Both failures and the divergence, in the order of time. */
function marksOf(twin, totalMs) {
  const marks = SIDES.flatMap((side) => {
    const { episode, begins_ms: beginsMs } = twin[side];
    const name = side.toUpperCase();
    const mark = { kind: "failure", label: `${name} fails`, title: name };
    return episode.failure_time_s === null ? [] : [{ ...mark, timeMs: episode.failure_time_s * 1000 + beginsMs }];
  });
  const goal = twin.compared.beyond ?? twin.compared.first;
  if (goal) marks.push({ kind: "divergence", label: "A ≠ B", title: "First divergence", timeMs: goal.t_ms });
  for (const mark of marks) mark.timeMs = Math.min(mark.timeMs, totalMs);
  return marks.sort((one, other) => one.timeMs - other.timeMs);
}

/** The button and every moment that a table names go there, on this page; returns how to go to the divergence. */
function wireMoments(player) {
  const go = (timeMs) => {
    player.pause();
    player.seek(timeMs);
    document.getElementById("workspace").scrollIntoView({ block: "start" });
  };
  const jump = document.getElementById("jump-to-divergence");
  jump?.addEventListener("click", () => go(Number(jump.dataset.timeMs)));
  for (const link of document.querySelectorAll("a.moment")) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      go(Number(link.dataset.timeMs));
    });
  }
  return () => jump && go(Number(jump.dataset.timeMs));
}

/** Choosing is enough; the offset waits for the number. */
function wireForm() {
  const form = document.getElementById("compare-form");
  form.addEventListener("change", (event) => {
    if (event.target.name !== "align" || event.target.value !== "offset") form.requestSubmit();
  });
}

/** Swapping them, or another tolerance, leaves the time where it is; another alignment is another clock. */
function keepTime(player) {
  const swap = document.getElementById("swap");
  swap?.addEventListener("click", () => {
    const address = new URL(swap.href);
    address.searchParams.set("t", `${player.linkText()}ms`);
    swap.href = address.href;
  });
  const form = document.getElementById("compare-form");
  const before = new FormData(form);
  form.addEventListener("formdata", ({ formData }) => {
    const moved = ["align", "offset"].some((name) => formData.get(name) !== before.get(name));
    if (!moved) formData.set("t", `${player.linkText()}ms`);
  });
}

async function start() {
  wireCopyButtons();
  wireForm();
  const twin = await (await fetch(document.getElementById("compare").dataset.json)).json();
  const stage = document.getElementById("player");
  keepRulerBelow(stage.parentElement);
  const [cameras, series, difference] = await Promise.all([
    Promise.all(
      SIDES.map((side) =>
        loadCameras(twin[side].cameras, videosIn(sideOf(side)), { prefix: `${side}/`, offsetMs: twin[side].begins_ms }),
      ),
    ),
    Promise.all(SIDES.map((side) => loadSeries(twin[side].series_url))),
    loadSeries(twin.compared.difference_url),
  ]);

  const rows = rowTable(series[0].streams.map((stream) => stream.shifted(twin.a.begins_ms)));
  const spans = SIDES.map((side, index) => {
    const { begins_ms: startMs, episode } = twin[side];
    const ends = series[index].streams.map((stream) => stream.endMs);
    return { startMs, endMs: startMs + (Math.max(0, ...ends) || (episode.duration_s ?? 0) * 1000) };
  });
  const pictures = cameras.flat().map((camera) => camera.frames.endMs);
  const totalMs = Math.max(...spans.map((span) => span.endMs), ...pictures);

  const player = new Player(cameras.flat(), totalMs, rows);
  const wall = new CameraWall(stage, player);
  const transport = new Transport(player);
  const sides = SIDES.map((side, index) => ({ root: sideOf(side), cameras: cameras[index] }));
  new CameraSides(player, sides, document.getElementById("camera-choice"));
  let charts = null;
  if (twin.compared.streams.length) {
    document.getElementById("workspace").classList.add("has-charts");
    charts = new ChartStack(document.getElementById("stack"), {
      sources: chartSources(twin, series, difference),
      totalMs,
      onSeek: (timeMs) => player.seek(timeMs),
    });
    orderCharts(charts);
    zoomToCommon(charts, spans, totalMs);
    player.addEventListener("time", () => charts.setTime(player.timeMs, player.playing));
  } else if (document.getElementById("charts-note").hidden) {
    say("charts-note", "They have no numeric stream in common.");
  }
  const marks = new Marks(player, marksOf(twin, totalMs), charts);
  const loop = new LoopBar(player, () => (charts?.isZoomed ? { startMs: charts.startMs, endMs: charts.endMs } : null));
  wireKeyboard({ player, transport, loop, marks, wall }, { g: wireMoments(player) });
  keepTime(player);
  player.addEventListener("unplayable", () => say("video-note", "This browser cannot play the videos."));
  player.addEventListener("shown", () => (document.documentElement.dataset.ready = "true"), { once: true });
  followAddress(player);
}

start();
