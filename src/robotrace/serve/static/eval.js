// An eval run that goes on: its page follows, part by part, and says how far it is.

const POLL_MS = 2000;
// Of a run with thousands of baselines an answer takes a while: asking is never more than a twentieth of the time.
const REST = 20;

const announce = (text) => (document.getElementById("announcer").textContent = text);

/** Puts the parts of a new page in the place of the old ones; returns whether all could be. */
function takeOver(fresh) {
  let whole = true;
  for (const old of document.querySelectorAll("[data-live]")) {
    const made = fresh.getElementById(old.id);
    if (!made) continue;
    // Nobody's focus is taken from them: that part waits.
    if (old.contains(document.activeElement)) whole = false;
    else old.replaceWith(document.adoptNode(made));
  }
  return whole;
}

async function look(state) {
  const { run } = await (await fetch(state.url)).json();
  const done = run.episodes_completed + run.episodes_failed;
  const seen = `${run.status} ${done}`;
  if (seen !== state.seen) {
    const answer = await fetch(location.href);
    if (!answer.ok) return;
    // Once all is in place; else it is tried again.
    if (takeOver(new DOMParser().parseFromString(await answer.text(), "text/html"))) state.seen = seen;
    state.over = !["pending", "running"].includes(run.status) && state.seen === seen;
    announce(state.over ? `The run is ${run.status}` : `${done} of ${run.episode_count} baselines have a result`);
  }
}

async function follow(state) {
  const begun = performance.now();
  try {
    if (!document.hidden) await look(state);
  } catch {
    // The deployment is being restarted: keep asking.
  }
  if (!state.over) setTimeout(() => follow(state), Math.max(POLL_MS, REST * (performance.now() - begun)));
}

const place = document.getElementById("eval-state");
if (place.dataset.json) {
  follow({ url: place.dataset.json, seen: `${place.dataset.status} ${place.dataset.done}`, over: false });
}
