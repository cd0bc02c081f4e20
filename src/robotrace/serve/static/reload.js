// Loading the page again when there is something new, unless somebody is on their way to another one: a reload would
// take them back to where they clicked.

const LEAVING_MS = 30_000; // a download looks like leaving, and the page stays

let leftAt = -Infinity;
addEventListener("beforeunload", () => {
  leftAt = performance.now();
});

/** Loads the page again, a little later where its reader is just leaving it. */
export function reloadPage() {
  const waitMs = leftAt + LEAVING_MS - performance.now();
  if (waitMs > 0) setTimeout(reloadPage, waitMs);
  else location.reload();
}
