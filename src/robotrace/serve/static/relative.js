// "2 min ago", kept true while the page is open; the server writes the same (portal_format.ago).

const MINUTE_S = 60;
const HOUR_S = 60 * MINUTE_S;
const DAY_S = 24 * HOUR_S;
const AGO_LIMIT_S = 30 * DAY_S;
const REFRESH_MS = 20_000;

/** How long ago a moment was, in its largest unit; the date beyond a month. */
export function ago(moment, now = Date.now()) {
  const seconds = (now - moment.getTime()) / 1000;
  if (seconds < MINUTE_S) return "just now";
  if (seconds < HOUR_S) return `${Math.floor(seconds / MINUTE_S)} min ago`;
  if (seconds < DAY_S) return `${Math.floor(seconds / HOUR_S)} h ago`;
  if (seconds < AGO_LIMIT_S) return `${Math.floor(seconds / DAY_S)} d ago`;
  return moment.toISOString().slice(0, 10);
}

export function refreshTimes(root = document) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const text = ago(new Date(element.dateTime));
    if (element.textContent !== text) element.textContent = text;
  }
}

/** Once now, since a browser may show a page from before, and then for as long as the page is there. */
export function keepTimes(root = document) {
  refreshTimes(root);
  setInterval(() => {
    if (!document.hidden) refreshTimes(root);
  }, REFRESH_MS);
  document.addEventListener("visibilitychange", () => refreshTimes(root));
}
