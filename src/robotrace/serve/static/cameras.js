// The pictures of several cameras: which one is large, and what is said on each.

import { formatTime } from "./timeline.js";

const LARGE = "large";
const GRID = "grid";

/** The `<video>` elements below `root`, by the key of their camera. */
export function videosIn(root) {
  const figures = [...root.querySelectorAll("figure[data-camera]")];
  return new Map(figures.map((figure) => [figure.dataset.camera, figure.querySelector("video")]));
}

/** What the page itself says of the cameras below `root`, as `cameras` of the episode's JSON does. */
export function viewsIn(root) {
  const figures = [...root.querySelectorAll("figure[data-camera]")];
  return figures.map(({ dataset }) => ({ key: dataset.camera, name: dataset.name, frames_url: dataset.frames }));
}

function note(camera) {
  if (camera.picture === "failed") return "cannot be played";
  if (camera.picture === "before") return `from ${formatTime(camera.frames.startMs)} s`;
  if (camera.picture === "after") return `ended ${formatTime(camera.frames.endMs)} s`;
  if (camera.picture === "loading") return "loading";
  return camera.synced ? "" : "catching up";
}

/** Shows the cameras of a player below `root`: one is large and the others small, or all are of one size. */
export class CameraWall {
  constructor(root, player) {
    this.root = root;
    this.player = player;
    this.layout = LARGE;
    this.figures = player.cameras.map((camera) => camera.video.closest("figure"));
    player.cameras.forEach((camera, index) => this.#wire(camera, index));
    player.addEventListener("active", () => this.#showActive());
    this.#showActive();
    document.getElementById("same-size")?.addEventListener("click", () => this.toggleLayout());
    if (player.cameras.length > 1) this.#observe();
  }

  /** Makes a camera the large one. */
  enlarge(index) {
    if (!this.figures[index] || this.player.cameras[index].failed) return;
    this.player.activate(index);
    this.#setLayout(LARGE);
  }

  toggleLayout() {
    if (this.figures.length > 1) this.#setLayout(this.layout === GRID ? LARGE : GRID);
  }

  #setLayout(layout) {
    this.layout = layout;
    this.#showActive();
  }

  #wire(camera, index) {
    const figure = this.figures[index];
    camera.video.controls = false;
    const show = () => {
      figure.dataset.picture = camera.picture;
      figure.dataset.synced = String(camera.synced);
      figure.querySelector(".camera-note").textContent = note(camera);
    };
    camera.addEventListener("picture", show);
    show();
    camera.video.addEventListener("click", () => {
      if (index === this.player.active && this.layout === LARGE) this.player.toggle();
      else this.enlarge(index);
    });
    figure.querySelector("button")?.addEventListener("click", () => this.enlarge(index));
  }

  #showActive() {
    const { player, figures, layout } = this;
    this.root.dataset.layout = layout;
    document.getElementById("same-size")?.setAttribute("aria-pressed", String(layout === GRID));
    figures.forEach((figure, index) => {
      const active = index === player.active;
      figure.dataset.active = String(active);
      figure.querySelector("button")?.setAttribute("aria-pressed", String(active));
    });
  }

  /** A camera that is scrolled out of sight is not decoded. */
  #observe() {
    const { player } = this;
    const observer = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const index = this.figures.indexOf(entry.target);
        player.watch(player.cameras[index], entry.isIntersecting || index === player.active);
      }
    });
    for (const figure of this.figures) observer.observe(figure);
    player.addEventListener("active", () => player.watch(player.camera, true));
  }
}
