// Copying, also where the page is no secure context (plain HTTP on a LAN name) and navigator.clipboard is missing.

function copyBySelection(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "offscreen";
  field.setAttribute("readonly", "");
  // Inside an open dialog only its own descendants can take the focus that copying needs.
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  const focused = document.activeElement;
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused?.focus?.();
  return copied;
}

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Missing outside a secure context, or refused by a permission: the old way still works.
    return copyBySelection(text);
  }
}

/** Says on the button itself what happened, for a moment. */
export function confirmOn(button, copied) {
  button.dataset.copied = copied ? "yes" : "no";
  const announcer = document.getElementById("announcer");
  if (announcer) announcer.textContent = copied ? "Copied" : "Copying failed";
  setTimeout(() => delete button.dataset.copied, 1500);
}

/** Every `[data-copy]` button copies its value; `[data-copy-from]` the text of the element with that id. */
export function wireCopyButtons(root = document) {
  root.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (!button) return;
    const text = button.dataset.copy ?? document.getElementById(button.dataset.copyFrom)?.textContent ?? "";
    confirmOn(button, await copyText(text.trim()));
  });
}
