// What of a replay its address carries: the time, the loop, and which camera is large.

import { parseTime } from "./timeline.js";

const LOOP = /^\s*(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)(ms|s)?\s*$/;

function text(timeMs) {
  return String(Number(timeMs.toFixed(3)));
}

/** Reads `1200-3400ms` or `1.2-3.4s`; null for anything else. */
export function parseLoop(range) {
  const match = LOOP.exec(range ?? "");
  if (!match) return null;
  const scale = match[3] === "s" ? 1000 : 1;
  const [startMs, endMs] = [Number(match[1]) * scale, Number(match[2]) * scale];
  return startMs < endMs ? { startMs, endMs, on: true } : null;
}

/** Brings a player to what the address says. */
export function followAddress(player) {
  const asked = new URLSearchParams(location.search);
  const camera = player.cameras.findIndex((each) => each.key === asked.get("camera"));
  if (camera >= 0) player.activate(camera);
  const loop = parseLoop(asked.get("loop"));
  if (loop) player.setLoop({ ...loop, endMs: Math.min(loop.endMs, player.totalMs) });
  player.seek(parseTime(asked.get("t")) ?? player.loop?.startMs ?? 0);
}

/** The address of this page as a player stands. */
export function addressOf(player) {
  const address = new URL(location.href);
  const { searchParams } = address;
  searchParams.set("t", `${player.linkText()}ms`);
  const { loop, active, cameras } = player;
  if (loop?.on) searchParams.set("loop", `${text(loop.startMs)}-${text(loop.endMs)}ms`);
  else searchParams.delete("loop");
  if (active > 0) searchParams.set("camera", cameras[active].key);
  else searchParams.delete("camera");
  address.hash = "";
  return address.href;
}

/** Whether the player stands where an address with nothing in it leads: opening a page should not change its address. */
export function isPlain(player) {
  const { searchParams } = new URL(location.href);
  if (["t", "loop", "camera"].some((name) => searchParams.has(name))) return false;
  return player.timeMs === 0 && !player.loop?.on && player.active <= 0;
}
