// Small helpers for elements made by a script: text is always text, never markup.

/** An element with a class and, if given, a text. */
export function element(tag, className = "", text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** A button that does something. `title` is both its tooltip and, when it shows no text, its name. */
export function button(className, text, title, act) {
  const made = element("button", className, text);
  made.type = "button";
  if (title) made.title = title;
  if (title && !text) made.setAttribute("aria-label", title);
  made.addEventListener("click", act);
  return made;
}

/** Whether a key press is meant for the page: no dialog is open and nobody is typing. */
export function isPageKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return false;
  if (document.querySelector("dialog[open]")) return false;
  return !event.target.closest?.("input, textarea, select, [contenteditable]");
}
