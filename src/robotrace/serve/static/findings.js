// Findings: the page is loaded again when they have been made; their streams are shown, and the first one's instant.

import { reloadPage } from "./reload.js";

const FIRST_POLL_MS = 400;
const LONGEST_POLL_MS = 10_000;
const POINTED_MS = 1600;

async function follow(url, waitMs) {
  try {
    const answer = await fetch(url);
    if (answer.ok && !(await answer.json()).pending) {
      reloadPage();
      return;
    }
  } catch {
    // It is being restarted: keep asking.
  }
  setTimeout(() => follow(url, Math.min(waitMs * 1.5, LONGEST_POLL_MS)), waitMs);
}

const place = document.getElementById("findings");
if (place?.dataset.pending) follow(place.dataset.pending, FIRST_POLL_MS);

/** Whoever draws the charts listens, and sees to it that the stream is not folded away or hidden. */
function showStream(name) {
  document.dispatchEvent(new CustomEvent("robotrace:show-stream", { detail: { name } }));
  const charts = document.getElementById("stack");
  const chart = charts?.querySelector(`[data-stream="${CSS.escape(name)}"]`);
  const there = chart?.checkVisibility?.() ? chart : charts;
  there?.scrollIntoView({ block: there === chart ? "center" : "start" });
  if (there !== chart) return;
  chart.classList.add("pointed-at");
  setTimeout(() => chart.classList.remove("pointed-at"), POINTED_MS);
}

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  const stream = event.target.closest(".finding a[data-stream]");
  if (stream) {
    event.preventDefault();
    showStream(stream.dataset.stream);
  }
  const go = event.target.closest("[data-finding-go]");
  const link = go && document.querySelector(`.finding[data-code="${CSS.escape(go.dataset.findingGo)}"] a.figure`);
  // The link in the list is wired to the player; before that, this is a link like any other.
  if (link && document.documentElement.dataset.ready) {
    event.preventDefault();
    link.click();
  }
});
