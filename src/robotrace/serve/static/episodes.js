// The list of episodes: what moves on it.

import { BulkActions } from "./bulk.js";
import { wireFilters } from "./filters.js";
import { wireKeys } from "./list_keys.js";
import { LiveRows } from "./live.js";
import { Selection } from "./selection.js";

const root = document.getElementById("list");
const form = document.getElementById("bulk");
const body = form?.querySelector("tbody");
const selection = form && new Selection(form);

/** Whether a row that moved now would move under a hand. */
function isBusy() {
  if (!body) return false;
  const here = body.matches(":hover") || body.contains(document.activeElement);
  return here || selection.rows.length > 0 || document.querySelector("dialog[open]") !== null;
}

wireFilters(root);
const live = new LiveRows(root, { onChange: () => selection?.show(), isBusy });
if (form) {
  new BulkActions(form, selection, () => live.look());
  wireKeys(body, {
    pick: (row, range) => selection.pick(row, range || !row.querySelector("input[name=id]").checked, range),
    clear: () => selection.clear(),
    fresh: () => live.showFresh(),
  });
}
