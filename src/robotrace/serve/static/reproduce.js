// The line that says how far a render is; what comes of it is a page of its own.

import { reloadPage } from "./reload.js";

const POLL_MS = 500;

function describe(state) {
  if (state.state === "queued") return state.ahead ? `Waiting, ${state.ahead} ahead` : "Waiting";
  return state.total ? `Step ${state.done} of ${state.total}` : "Starting";
}

function show(place, state) {
  document.getElementById("rendering-text").textContent = describe(state);
  const bar = place.querySelector("progress");
  if (!state.total) return;
  bar.max = state.total;
  bar.value = state.done;
}

async function follow(place) {
  try {
    const answer = await fetch(place.dataset.json);
    if (answer.ok) {
      const state = await answer.json();
      if (state.state !== "queued" && state.state !== "running") {
        reloadPage();
        return;
      }
      show(place, state);
    } else if (answer.status === 404) {
      // The deployment was restarted, and has forgotten it.
      reloadPage();
      return;
    }
  } catch {
    // It is being restarted: keep asking.
  }
  setTimeout(() => follow(place), POLL_MS);
}

const rendering = document.getElementById("rendering");
if (rendering) follow(rendering);
