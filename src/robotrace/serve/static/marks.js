// What happened when: the failure and the findings, as ticks on the scrubber and lines in the charts.

import { formatTime } from "./timeline.js";

function line(className, text) {
  const mark = document.createElement("div");
  mark.className = `mark ${className}`;
  const label = document.createElement("span");
  label.textContent = text;
  mark.append(label);
  return mark;
}

export function markFailure(charts, failureMs, totalMs) {
  const at = Math.min(failureMs, totalMs);
  charts?.addMark(at, line("failure", "failure"));
  const tick = document.createElement("i");
  tick.title = `Failure at ${formatTime(failureMs)} s`;
  tick.style.left = `${totalMs ? (at / totalMs) * 100 : 0}%`;
  document.getElementById("scrub-marks").append(tick);
}

/** Where the findings begin: a tick on the scrubber each, numbered as they are listed; their links go there. */
export function markFindings(player, totalMs) {
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
