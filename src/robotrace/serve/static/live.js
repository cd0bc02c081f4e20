// Keeps the list current: new episodes arrive at its top, what has changed changes in its row.
//
// The server answers 304 while nothing has changed. The rows come as the page has them, so that there is one way to
// write a row; DOMParser runs nothing that might be in them.

import { refreshTimes } from "./relative.js";
import { reloadPage } from "./reload.js";

const POLL_MS = 3000;
const IDLE_POLL_MS = 10_000;
const SLOWEST_POLL_MS = 60_000;
/** Nothing has changed for so long: look less often. */
const IDLE_AFTER_MS = 120_000;
/** Of a list that is costly to make: the server shall be busy with it a hundredth of the time. */
const SHARE = 100;
const MOST_ROWS = 200;
const PAGE_ROWS = 50;
const ANNOUNCE_EVERY_MS = 10_000;
const ARRIVAL_MS = 2000;

const many = (count, noun) => `${count} new ${noun}${count === 1 ? "" : "s"}`;

export class LiveRows {
  /**
   * @param {HTMLElement} root The list: `data-rows-url` says where its rows are, `data-newest` that they are the newest.
   * @param {{onChange: () => void, isBusy: () => boolean}} page Told when rows have changed; says when none may move.
   */
  constructor(root, page) {
    this.root = root;
    this.page = page;
    this.body = root.querySelector("#episodes tbody");
    this.fresh = root.querySelector("#fresh");
    this.url = root.dataset.rowsUrl;
    this.isNewest = "newest" in root.dataset;
    this.changedAt = performance.now();
    this.announcedAt = -Infinity;
    this.tag = null;
    this.asked = 0; // counts requests: an answer that was overtaken by another one tells of the past
    this.waiting = null; // rows of the latest answer while new ones wait to be shown
    this.failures = 0;
    this.fresh?.addEventListener("click", () => this.showFresh());
    document.addEventListener("visibilitychange", () => this.look());
    this.body?.addEventListener("pointerleave", () => this.settle());
    this.schedule(POLL_MS);
  }

  schedule(delay) {
    clearTimeout(this.timer);
    if (!document.hidden && !this.stopped) this.timer = setTimeout(() => this.poll(), delay);
  }

  /** Ask at once; an answer on its way is from before what happened. */
  look() {
    this.asked += 1;
    this.schedule(0);
  }

  async poll() {
    const began = performance.now();
    const number = (this.asked += 1);
    try {
      const limit = Math.min(MOST_ROWS, Math.max(PAGE_ROWS, this.body?.rows.length ?? 0));
      const url = `${this.url}${this.url.includes("?") ? "&" : "?"}limit=${limit}`;
      const answer = await fetch(url, { headers: this.tag ? { "If-None-Match": this.tag } : {}, cache: "no-store" });
      const text = answer.status === 200 ? await answer.text() : "";
      if (number !== this.asked) return;
      this.failures = 0;
      if (answer.status === 401) {
        this.stopped = true; // signed out meanwhile; the next click says so
        return;
      }
      if (text) {
        this.tag = answer.headers.get("ETag");
        this.changedAt = performance.now();
        this.take(new DOMParser().parseFromString(text, "text/html").querySelector("table"));
      } else if (answer.status !== 304) {
        this.failures += 1;
      }
    } catch {
      if (number !== this.asked) return;
      this.failures += 1; // the deployment is being restarted: keep asking
    }
    this.settle();
    const now = performance.now();
    const usual = now - this.changedAt > IDLE_AFTER_MS ? IDLE_POLL_MS : POLL_MS;
    const costly = (now - began) * SHARE * (this.failures ? 0 : 1);
    this.schedule(Math.min(SLOWEST_POLL_MS, Math.max(usual * 2 ** this.failures, costly)));
  }

  /** Rows as they are now: shown ones change in place, new ones wait for a moment at which nothing jumps. */
  take(table) {
    if (!table) return;
    const rows = [...table.tBodies[0].rows];
    if (!this.body) {
      if (rows.length) reloadPage(); // the first one
      return;
    }
    const shown = new Map([...this.body.rows].map((row) => [row.dataset.episodeId, row]));
    for (const row of rows) {
      const old = shown.get(row.dataset.episodeId);
      if (old && old.dataset.version !== row.dataset.version) this.replace(old, row);
    }
    this.markGone(rows, shown);
    // Not only above the first: what has ended since may pass the filters now, and is older than that.
    const last = [...shown.values()].at(-1)?.dataset.created ?? "";
    const isFresh = (row) => this.isNewest && !shown.has(row.dataset.episodeId) && row.dataset.created >= last;
    const fresh = rows.filter(isFresh);
    this.waiting = fresh.length ? { rows, fresh, nextUrl: table.dataset.nextUrl } : null;
    this.page.onChange();
  }

  replace(old, row) {
    const box = old.querySelector("input[name=id]");
    const focused = old.contains(document.activeElement) && document.activeElement;
    row.querySelector("input[name=id]").checked = Boolean(box?.checked);
    old.replaceWith(document.adoptNode(row));
    refreshTimes(row);
    if (focused) row.querySelector(focused === box ? "input[name=id]" : "a").focus({ preventScroll: true });
  }

  /** What is no longer in the list, though it is not too old for it, was archived, deleted, or fails the filters now. */
  markGone(rows, shown) {
    const current = new Set(rows.map((row) => row.dataset.episodeId));
    const last = rows.at(-1)?.dataset.created ?? "";
    for (const [id, row] of shown) {
      if (!current.has(id) && row.dataset.created > last) row.dataset.gone = "";
      else delete row.dataset.gone;
    }
  }

  /** Do what was waiting once nobody has the mouse over a row, has selected any, or is reading further down. */
  settle() {
    if (this.page.isBusy()) {
      this.offer();
      return;
    }
    for (const row of this.body?.querySelectorAll("[data-gone]") ?? []) row.remove();
    if (this.body && !this.body.rows.length && !this.waiting) reloadPage(); // it says why there are none
    if (this.waiting && scrollY < 200) this.showFresh();
    else this.offer();
  }

  offer() {
    if (!this.fresh) return;
    const count = this.waiting?.fresh.length ?? 0;
    this.fresh.hidden = !count;
    if (!count) return;
    const text = count < PAGE_ROWS ? many(count, "episode") : `${PAGE_ROWS} and more new episodes`;
    if (this.fresh.textContent === text) return;
    this.fresh.textContent = text;
    this.announce(text);
  }

  showFresh() {
    const { rows, fresh, nextUrl } = this.waiting ?? {};
    this.waiting = null;
    if (!fresh) return;
    const asked = !this.fresh.hidden;
    this.fresh.hidden = true;
    const added = fresh.map((row) => document.adoptNode(row));
    if (fresh.length === rows.length || this.body.rows.length + fresh.length > MOST_ROWS) {
      // A gap below them, or too many to hold: the page begins anew, and goes on where the answer ended.
      const shown = new Map([...this.body.rows].map((row) => [row.dataset.episodeId, row]));
      this.body.replaceChildren(...rows.map((row) => shown.get(row.dataset.episodeId) ?? row));
      const next = document.getElementById("pager-next");
      if (next && nextUrl) next.href = nextUrl;
    } else {
      let below = this.body.rows[0];
      for (const row of added) {
        while (below && below.dataset.created > row.dataset.created) below = below.nextElementSibling;
        this.body.insertBefore(row, below ?? null);
      }
    }
    for (const row of added) row.dataset.fresh = "";
    setTimeout(() => added.forEach((row) => delete row.dataset.fresh), ARRIVAL_MS);
    refreshTimes(this.body);
    if (asked) scrollTo({ top: 0 });
    this.announce(many(fresh.length, "episode"));
    this.page.onChange();
  }

  announce(text) {
    const now = performance.now();
    if (now - this.announcedAt < ANNOUNCE_EVERY_MS) return;
    this.announcedAt = now;
    const announcer = document.getElementById("announcer");
    if (announcer) announcer.textContent = text;
  }
}
