// The keyboard of the replay, and the dialog that names it.

import { isPageKey } from "./dom.js";

const ARROW_MS = 1000;
const LONG_ARROW_MS = 10000;

/**
 * @param {{player: Player, transport: Transport, loop: LoopBar, marks: Marks, wall: CameraWall}} parts
 * @param {Object<string, function>} more a page's own keys; they come first
 */
export function wireKeyboard({ player, transport, loop, marks, wall }, more = {}) {
  const help = document.getElementById("help");
  const arrow = (event) => (event.shiftKey ? LONG_ARROW_MS : ARROW_MS);
  const keys = {
    " ": () => player.toggle(),
    k: () => player.toggle(),
    ",": () => player.step(-1),
    ".": () => player.step(1),
    ArrowLeft: (event) => player.seek(player.timeMs - arrow(event)),
    ArrowRight: (event) => player.seek(player.timeMs + arrow(event)),
    Home: () => player.seek(0),
    End: () => player.seek(player.totalMs),
    "<": () => transport.changeRate(-1),
    ">": () => transport.changeRate(1),
    "[": () => loop.startHere(),
    "]": () => loop.endHere(),
    l: () => loop.toggle(),
    "\\": () => loop.clear(),
    f: () => marks.next(),
    g: () => wall.toggleLayout(),
    F: () => transport.toggleFullScreen(),
    c: () => transport.copyLink(),
    "?": () => help.showModal(),
  };
  for (let number = 1; number <= 9; number += 1) keys[number] = () => wall.enlarge(number - 1);
  Object.assign(keys, more);
  document.getElementById("help-open").addEventListener("click", () => help.showModal());
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    if (!isPageKey(event)) return;
    // A focused button, link or fold keeps its own space key.
    if (event.key === " " && target.closest("button, a, summary")) return;
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act(event);
  });
}
