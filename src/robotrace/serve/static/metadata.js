// Searching the tree of metadata: what has the text in its key or value stays, and what it lies in opens.

const tree = document.getElementById("metadata-tree");
const search = document.getElementById("metadata-search");
let opened = [];

/** Whether the text is in a branch or pair or anything below it; shows what has it and hides what has not. */
function sift(item, wanted) {
  const own = item.querySelector(":scope > .key, :scope > summary > .key").textContent.toLowerCase().includes(wanted);
  if (item.matches(".pair")) {
    const found = own || item.textContent.toLowerCase().includes(wanted);
    item.hidden = !found;
    return found;
  }
  const below = [...item.querySelectorAll(":scope > .twigs > .pair, :scope > .twigs > .branch")];
  // A branch whose own key has it is shown with all that is in it.
  const found = below.map((child) => sift(child, own ? "" : wanted)).some(Boolean);
  item.hidden = !found && !own;
  item.open = found;
  return found || own;
}

function show(text) {
  const wanted = text.trim().toLowerCase();
  const top = [...tree.querySelectorAll(":scope > .pair, :scope > .branch")];
  const found = top.map((item) => sift(item, wanted)).some(Boolean);
  document.getElementById("metadata-none").hidden = found;
  // As it was before somebody searched.
  if (!wanted) for (const item of tree.querySelectorAll("details")) item.open = opened.includes(item);
}

if (search) {
  search.hidden = false;
  search.addEventListener("focus", () => {
    if (!search.value) opened = [...tree.querySelectorAll("details[open]")];
  });
  search.addEventListener("input", () => show(search.value));
}
