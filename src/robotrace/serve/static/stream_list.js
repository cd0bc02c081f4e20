// The charts in groups, with a search, pins and what is hidden.

import { Choices } from "./choices.js";
import { button, element, icon, isPageKey } from "./dom.js";
import { arrange, matches, overlayChoices, overlayFor } from "./groups.js";
import { choose } from "./picker.js";

// A handful is seen at a glance.
const STREAMS_BEFORE_SEARCH = 6;
const PINNED = "Pinned";

export class StreamList {
  /** @param {string | null} choicesKey what the reader's choices are kept for: a robot, an environment */
  constructor(stack, choicesKey) {
    this.stack = stack;
    this.root = element("div", "chart-list");
    this.tools = element("div", "stream-tools");
    this.choices = new Choices(choicesKey);
    this.showsHidden = false;
    this.#buildTools();
  }

  /** Takes over the charts, in the order in which their streams were recorded. */
  fill(charts) {
    this.charts = charts;
    this.byName = new Map(charts.map((chart) => [chart.name, chart]));
    this.numeric = charts.filter((chart) => chart.own);
    const many = charts.length > STREAMS_BEFORE_SEARCH;
    this.search.parentElement.hidden = !many;
    for (const [name, over] of Object.entries(this.choices.overlays)) this.#lay(this.byName.get(name), over);
    this.arrange();
  }

  /** Put every chart where it belongs now. */
  arrange() {
    const { choices } = this;
    const order = [...choices.pinned];
    const pinned = this.charts.filter((chart) => choices.pinned.has(chart.name));
    pinned.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
    const rest = arrange(this.charts.filter((chart) => !choices.pinned.has(chart.name)));
    const groups = pinned.length ? [{ key: PINNED, items: pinned, isFolded: false }, ...rest] : rest;
    const alone = groups.length === 1;
    this.groups = groups.map((group) => this.#group(group, alone));
    this.root.replaceChildren(...this.groups.map((group) => group.root));
    this.filter();
  }

  /** Show what the search means, and fold what is folded. */
  filter() {
    const query = this.search.value.trim();
    let found = 0;
    let hidden = 0;
    for (const group of this.groups) {
      let shown = 0;
      for (const chart of group.items) {
        const isHidden = this.choices.hidden.has(chart.name);
        const fits = matches(query, chart.name, chart.labels);
        hidden += isHidden;
        found += fits;
        chart.root.hidden = !fits || (isHidden && !this.showsHidden);
        chart.root.classList.toggle("dimmed", isHidden);
        shown += !chart.root.hidden;
      }
      const isFolded = !query && group.isFolded;
      group.root.hidden = !shown;
      group.body.hidden = isFolded;
      group.toggle?.setAttribute("aria-expanded", String(!isFolded));
    }
    const all = this.charts.length;
    this.count.textContent = query ? `${found} of ${all} streams` : `${all} streams`;
    this.hiddenToggle.hidden = !hidden;
    this.hiddenToggle.textContent = `${hidden} hidden`;
    this.hiddenToggle.setAttribute("aria-pressed", String(this.showsHidden));
    this.nothing.hidden = !query || found > 0;
    if (query && !found) this.nothing.textContent = `No stream or column is called “${query}”.`;
    if (!this.nothing.hidden) this.root.append(this.nothing);
  }

  pin(chart, on) {
    this.choices.pin(chart.name, on);
    this.arrange();
    chart.root.querySelector(`[aria-label^="Pin "]`)?.focus();
  }

  hide(chart, on) {
    this.choices.hide(chart.name, on);
    this.arrange();
  }

  /** Lay the streams of these names over a chart; none for its own alone. */
  setOverlays(chart, names) {
    this.#lay(chart, names);
    this.choices.overlay(chart.name, chart.overlays);
    this.#place(chart, chart.head.group);
    this.stack.changed(chart);
  }

  async chooseOverlay(chart) {
    const suggested = overlayFor(chart, this.numeric);
    const others = overlayChoices(chart, this.numeric).filter(({ name }) => !chart.overlays?.includes(name));
    const choices = others.map((other) => ({
      name: other.name,
      note: other === suggested ? "suggested" : columnsOf(other),
      matches: (query) => matches(query, other.name, other.labels),
    }));
    const picked = await choose(this.root, `Overlay on ${chart.name}`, choices);
    if (picked) this.setOverlays(chart, [...new Set([...(chart.overlays ?? []), picked.name])]);
    chart.root.querySelector(`[aria-label^="Overlay "]`)?.focus();
  }

  /** Make sure that a stream is not folded away, hidden or searched away: somebody points at it. */
  reveal(name) {
    const group = this.groups.find(({ items }) => items.some((chart) => chart.name === name));
    if (!group) return;
    group.isFolded = false;
    this.choices.hide(name, false);
    this.search.value = "";
    this.filter();
  }

  focusSearch() {
    if (this.search.parentElement.hidden) return false;
    this.search.focus();
    this.search.select();
    return true;
  }

  #lay(chart, names) {
    const others = names.map((name) => this.byName.get(name)).filter((other) => other?.own && other !== chart);
    chart?.setOverlays?.(others);
  }

  #place(chart, group) {
    const { choices, numeric } = this;
    chart.head.place({
      group,
      isPinned: choices.pinned.has(chart.name),
      isHidden: choices.hidden.has(chart.name),
      suggestion: chart.own ? overlayFor(chart, numeric) : null,
    });
  }

  #group({ key, items, isFolded }, alone) {
    const root = element("section", "group");
    root.dataset.group = key;
    const body = element("div", "group-body");
    const group = { key, items, root, body, isFolded: this.choices.folded[key] ?? isFolded };
    // A stream alone needs no head above its own.
    const hasHead = !alone && (items.length > 1 || key === PINNED);
    for (const chart of items) this.#place(chart, hasHead && key !== PINNED ? key : "");
    if (hasHead) {
      group.toggle = button("group-toggle", undefined, "", () => {
        group.isFolded = !group.isFolded;
        this.choices.fold(key, group.isFolded);
        this.filter();
      });
      const count = element("span", "count", String(items.length));
      group.toggle.append(icon("fold"), element("span", "group-name", key), count);
      root.append(group.toggle);
    }
    root.append(body);
    body.append(...items.map((chart) => chart.root));
    return group;
  }

  #buildTools() {
    const box = element("label", "stream-search");
    this.search = element("input", "stream-filter");
    const asIs = { autocomplete: "off", spellcheck: false };
    Object.assign(this.search, { type: "search", placeholder: "Search streams", ...asIs });
    this.search.setAttribute("aria-label", "Search streams and columns");
    this.search.setAttribute("aria-keyshortcuts", "/");
    box.append(this.search, element("kbd", "", "/"));
    this.count = element("span", "count-text");
    this.count.setAttribute("role", "status");
    this.hiddenToggle = button("button", "", "", () => {
      this.showsHidden = !this.showsHidden;
      this.filter();
    });
    this.hiddenToggle.title = "Show or hide what was hidden";
    this.nothing = element("p", "note");
    this.tools.append(box, this.count, this.hiddenToggle);
    this.search.addEventListener("input", () => this.filter());
    this.search.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      if (!this.search.value) this.search.blur();
      this.search.value = "";
      this.filter();
    });
    document.addEventListener("robotrace:show-stream", (event) => this.reveal(event.detail.name));
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && isPageKey(event) && this.focusSearch()) event.preventDefault();
    });
  }
}

function columnsOf({ labels }) {
  return labels.length === 1 ? "1 column" : `${labels.length} columns`;
}
