// The list of episodes: copy buttons, and an empty list that fills itself once the first episode arrives.

import { wireCopyButtons } from "./clipboard.js";

const POLL_MS = 3000;

async function waitForTheFirst(url) {
  try {
    const answer = await fetch(url);
    if (answer.ok && (await answer.json()).episodes.length) {
      location.reload();
      return;
    }
  } catch {
    // The deployment is being restarted: keep asking.
  }
  setTimeout(() => waitForTheFirst(url), POLL_MS);
}

wireCopyButtons();
const waiting = document.getElementById("waiting");
if (waiting) waitForTheFirst(waiting.dataset.json);
