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
  return !event.target.closest?.("input:not([type=range]), textarea, select, [contenteditable]");
}

const SVG = "http://www.w3.org/2000/svg";
const PATHS = {
  pin: "M6 2.5h4l-.6 4 2.1 2.3v1.2h-7V8.8l2.1-2.3zM8 10v4",
  hide: "M2.5 8s2-3.8 5.5-3.8S13.5 8 13.5 8 11.5 11.8 8 11.8 2.5 8 2.5 8zM3 13 13 3",
  layers: "M8 2.5 14 5.5 8 8.5 2 5.5zM2.5 8.5 8 11.3l5.5-2.8",
  minus: "M3 5.5h10M3 10.5h10",
  fold: "M6 4l4 4-4 4",
  lock: "M4.5 7.5h7v6h-7zM6 7.5V5.3a2 2 0 0 1 4 0v2.2",
};

/** An icon of the streams' tools, drawn like those of the pages. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of [["class", "icon"], ["viewBox", "0 0 16 16"], ["aria-hidden", "true"]]) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** A button that is an icon; `pressed` makes it one that stays down. */
export function iconButton(name, label, act, pressed) {
  const made = button("icon-button tool", undefined, "", act);
  made.append(icon(name));
  made.title = label;
  made.setAttribute("aria-label", label);
  if (pressed !== undefined) made.setAttribute("aria-pressed", String(pressed));
  return made;
}
