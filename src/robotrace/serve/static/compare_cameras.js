// The cameras of two episodes: one of each is seen at a time, the ones of the same name together.

import { button } from "./dom.js";

/**
 * @param {Player} player with the cameras of all sides
 * @param {{root: HTMLElement, cameras: Camera[]}[]} sides
 * @param {HTMLElement} choice where the names are, if there are several
 */
export class CameraSides {
  constructor(player, sides, choice) {
    this.player = player;
    this.sides = sides;
    const names = [...new Set(sides.flatMap(({ cameras }) => cameras.map((camera) => camera.name)))];
    this.buttons = names.map((name) => button("button small", name, `Show the camera ${name}`, () => this.#choose(name)));
    choice.hidden = sides.every(({ cameras }) => cameras.length < 2);
    choice.append(...this.buttons);
    player.addEventListener("active", () => this.#show());
    player.addEventListener("time", () => this.#nameFrames());
    this.#show();
  }

  #choose(name) {
    const { player } = this;
    // The side that is stepped stays the one, if it has such a camera.
    const side = this.sides.find(({ cameras }) => cameras.includes(player.cameras[player.active]));
    const own = side?.cameras.find((camera) => camera.name === name);
    const index = player.cameras.indexOf(own ?? player.cameras.find((camera) => camera.name === name));
    player.activate(index);
  }

  #show() {
    const { player } = this;
    const name = player.cameras[player.active]?.name;
    for (const side of this.sides) {
      side.shown = side.cameras.find((camera) => camera.name === name) ?? side.cameras[0];
      for (const camera of side.cameras) camera.video.closest("figure").hidden = camera !== side.shown;
    }
    for (const each of this.buttons) each.setAttribute("aria-pressed", String(each.textContent === name));
    this.#nameFrames();
  }

  /** Says which frame of its own each side shows; one without a camera says nothing. */
  #nameFrames() {
    for (const { root, shown } of this.sides) {
      if (!shown) continue;
      const frame = shown.frameAt(this.player.timeMs);
      root.dataset.frame = String(frame);
      root.querySelector(".side-frame").textContent = frame < 0 ? "" : `frame ${frame} / ${shown.frames.count - 1}`;
    }
  }
}
