// The head of the episode page: keys to its neighbours, and the question before it is deleted.

const deletion = document.getElementById("delete-dialog");

document.getElementById("delete-open")?.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  deletion.showModal();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.defaultPrevented) return;
  if (event.target.closest("input, select, textarea, dialog, [contenteditable]")) return;
  const which = { p: "prev", n: "next" }[event.key];
  if (which) document.querySelector(`.neighbours a[rel="${which}"]`)?.click();
});
