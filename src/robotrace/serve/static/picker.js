// A dialog with a search and a list to choose from; the arrow keys walk the list.

import { button, element } from "./dom.js";

/**
 * Ask for one of `choices`, `[{ name, note, matches(query) }]`; resolves to it, or to null.
 *
 * @param {HTMLElement} host where the dialog is put
 */
export function choose(host, title, choices) {
  const dialog = element("dialog", "picker");
  dialog.setAttribute("aria-label", title);
  const search = element("input");
  Object.assign(search, { type: "search", placeholder: "Search streams" });
  search.setAttribute("aria-label", "Search streams");
  const list = element("ul");
  dialog.append(element("h2", "", title), search, list);
  host.append(dialog);
  return new Promise((resolve) => {
    let chosen = null;
    const rows = choices.map((choice) => {
      const row = element("li");
      const pick = button("picker-row", undefined, "", () => {
        chosen = choice;
        dialog.close();
      });
      pick.append(element("code", "", choice.name), element("span", "quiet", choice.note));
      row.append(pick);
      return { choice, row, pick };
    });
    list.append(...rows.map(({ row }) => row));
    const shown = () => rows.filter(({ row }) => !row.hidden).map(({ pick }) => pick);
    search.addEventListener("input", () => {
      for (const { choice, row } of rows) row.hidden = !choice.matches(search.value);
    });
    dialog.addEventListener("keydown", (event) => {
      const [picks, step] = [shown(), { ArrowDown: 1, ArrowUp: -1 }[event.key]];
      if (event.key === "Enter" && event.target === search && picks.length) picks[0].click();
      if (!step || !picks.length) return;
      event.preventDefault();
      const at = picks.indexOf(document.activeElement) + step;
      (picks[at] ?? (at < 0 ? search : picks.at(-1))).focus();
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(chosen);
    });
    dialog.showModal();
    search.focus();
  });
}
