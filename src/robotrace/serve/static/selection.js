// Which episodes are selected, by mouse and keyboard, and what the bar says of them.

import { confirmOn, copyText } from "./clipboard.js";

const boxOf = (row) => row.querySelector("input[name=id]");

export class Selection {
  /** @param {HTMLFormElement} form The list's form, with its table and its bar. */
  constructor(form) {
    this.form = form;
    this.body = form.querySelector("tbody");
    this.all = form.querySelector("#pick-all");
    this.count = form.querySelector("#bulk-count");
    this.compare = form.querySelector("#bulk-compare");
    this.last = null; // the row that was selected last, where a range begins
    this.all.hidden = false;
    for (const id of ["bulk-copy", "bulk-clear"]) form.querySelector(`#${id}`).hidden = false;
    this.body.addEventListener("click", (event) => this.clicked(event));
    this.form.addEventListener("change", (event) => {
      if (event.target === this.all) this.pickAll(this.all.checked);
      this.show();
    });
    form.querySelector("#bulk-clear").addEventListener("click", () => this.clear());
    const copy = form.querySelector("#bulk-copy");
    copy.addEventListener("click", async () => confirmOn(copy, await copyText(this.ids.join("\n"))));
    this.show(); // a browser may have kept boxes checked over a reload
  }

  get rows() {
    return [...this.body.rows].filter((row) => boxOf(row).checked);
  }

  get ids() {
    return this.rows.map((row) => row.dataset.episodeId);
  }

  clicked(event) {
    const row = event.target.closest("tr");
    // A label passes the click on to its box, which then comes by as a click of its own.
    if (row && event.target === boxOf(row)) this.pick(row, event.target.checked, event.shiftKey);
  }

  /** Select a row, or no longer; with a range, all from the last one on. */
  pick(row, checked, range = false) {
    const rows = [...this.body.rows];
    const [from, to] = [rows.indexOf(range ? this.last ?? row : row), rows.indexOf(row)];
    const span = from < 0 ? [row] : rows.slice(Math.min(from, to), Math.max(from, to) + 1);
    for (const each of span) boxOf(each).checked = checked;
    this.last = row;
    this.show();
  }

  pickAll(checked) {
    for (const row of this.body.rows) boxOf(row).checked = checked;
    this.show();
  }

  clear() {
    this.last = null;
    this.pickAll(false);
  }

  show() {
    const ids = this.ids;
    this.count.textContent = `${ids.length} selected`;
    this.all.checked = ids.length > 0 && ids.length === this.body.rows.length;
    this.all.indeterminate = ids.length > 0 && !this.all.checked;
    this.compare.hidden = ids.length !== 2;
    if (ids.length === 2) {
      // The older one first: what came before is what one compares with.
      const [b, a] = ids;
      this.compare.href = `/portal/compare?${new URLSearchParams({ a, b })}`;
    }
  }
}
