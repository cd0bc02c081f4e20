// The list by keyboard: j, k and the arrows go from episode to episode, x selects, / filters, ? tells all of it.

const linkOf = (row) => row?.querySelector(".cell-name a");

/**
 * @param {HTMLTableSectionElement} body The rows.
 * @param {{pick: (row: HTMLElement, range: boolean) => void, clear: () => void, fresh: () => void}} does
 */
export function wireKeys(body, does) {
  let last = null; // where somebody was, when the focus has gone elsewhere
  const help = document.getElementById("list-help");
  const current = () => document.activeElement.closest?.("tr[data-episode-id]") ?? (last?.isConnected ? last : null);

  const move = (by) => {
    const here = document.activeElement.closest?.("tr[data-episode-id]");
    const row = here ? (by > 0 ? here.nextElementSibling : here.previousElementSibling) : current() ?? body.rows[0];
    if (!row) return;
    linkOf(row).focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  };

  const keys = {
    j: () => move(1),
    k: () => move(-1),
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    x: (event) => current() && does.pick(current(), event.shiftKey),
    X: () => current() && does.pick(current(), true),
    n: () => does.fresh(),
    "/": () => {
      const shown = document.getElementById("filters-shown");
      shown.checked = true; // on a phone they are folded away
      document.getElementById("filter-name").focus();
    },
    "?": () => help.showModal(),
    Escape: () => does.clear(),
  };

  body.addEventListener("focusin", (event) => (last = event.target.closest("tr")));
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input:not([type=checkbox]), select, textarea, [contenteditable]");
    const modified = event.ctrlKey || event.metaKey || event.altKey;
    if (typing || modified || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    // Arrows scroll the page until somebody is in the list.
    if (event.key.startsWith("Arrow") && !body.contains(document.activeElement)) return;
    const act = Object.hasOwn(keys, event.key) && keys[event.key];
    if (!act) return;
    event.preventDefault();
    act(event);
  });
  const button = document.getElementById("show-keys");
  button.hidden = false;
  button.addEventListener("click", () => help.showModal());
}
