// The head of the episode page: keys to its neighbours, and the question before it is deleted.

import { isPageKey } from "./dom.js";

const deletion = document.getElementById("delete-dialog");

document.getElementById("delete-open")?.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  deletion.showModal();
});

document.addEventListener("keydown", (event) => {
  if (event.shiftKey || !isPageKey(event)) return;
  const which = { p: "prev", n: "next" }[event.key];
  if (which) document.querySelector(`.neighbours a[rel="${which}"]`)?.click();
});
