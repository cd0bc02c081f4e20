// Findings that are being made: the page is loaded again when they are there.

const FIRST_POLL_MS = 400;
const LONGEST_POLL_MS = 10_000;

async function follow(url, waitMs) {
  try {
    const answer = await fetch(url);
    if (answer.ok && !(await answer.json()).pending) {
      location.reload();
      return;
    }
  } catch {
    // It is being restarted: keep asking.
  }
  setTimeout(() => follow(url, Math.min(waitMs * 1.5, LONGEST_POLL_MS)), waitMs);
}

const place = document.getElementById("findings");
if (place?.dataset.pending) follow(place.dataset.pending, FIRST_POLL_MS);
