// What a reader chose to see: kept in this browser for the robot or environment, and in the address for who gets a link.

const PARAMETER = "streams";

/** Pinned streams and what lies over them as text: `action~observation.state,reward`. */
export function toAddress(pinned, overlays) {
  const names = [...new Set([...pinned, ...Object.keys(overlays)])];
  return names.map((name) => [name, ...(overlays[name] ?? [])].map(encode).join("~")).join(",");
}

function encode(name) {
  return name.replace(/[%,~]/g, (letter) => `%${letter.charCodeAt(0).toString(16)}`);
}

/** The other way round; null when the address says nothing. */
export function fromAddress(text) {
  if (!text) return null;
  const pinned = [];
  const overlays = {};
  for (const part of text.split(",")) {
    const [name, ...over] = part.split("~").map(decode);
    if (!name) continue;
    pinned.push(name);
    if (over.length) overlays[name] = over;
  }
  return { pinned, overlays };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export class Choices {
  /** @param {string | null} key what the choices are kept for; null to keep none */
  constructor(key) {
    this.place = key ? `robotrace.streams.${key}` : null;
    const kept = this.#read();
    const asked = new URLSearchParams(location.search).get(PARAMETER);
    // One's own address says less than what was kept: which of them are pinned.
    const shared = asked === toAddress(kept.pinned, kept.overlays) ? null : fromAddress(asked);
    this.pinned = new Set(shared?.pinned ?? kept.pinned);
    this.overlays = shared?.overlays ?? kept.overlays;
    this.hidden = new Set(kept.hidden);
    this.folded = kept.folded;
    for (const name of this.pinned) this.hidden.delete(name);
    // What is seen is what a copied link shows.
    if (!shared) this.#writeAddress();
  }

  pin(name, on) {
    if (on) this.pinned.add(name);
    else this.pinned.delete(name);
    this.#keep();
  }

  hide(name, on) {
    if (on) this.hidden.add(name);
    else this.hidden.delete(name);
    this.#keep();
  }

  fold(group, on) {
    this.folded[group] = on;
    this.#keep();
  }

  overlay(name, over) {
    if (over.length) this.overlays[name] = over;
    else delete this.overlays[name];
    this.#keep();
  }

  #keep() {
    this.#writeAddress();
    if (!this.place) return;
    const { overlays, folded } = this;
    const kept = { pinned: [...this.pinned], hidden: [...this.hidden], overlays, folded };
    try {
      localStorage.setItem(this.place, JSON.stringify(kept));
    } catch {
      // Storage is full or forbidden: the choice lasts as long as the page.
    }
  }

  #writeAddress() {
    const address = new URL(location.href);
    const text = toAddress(this.pinned, this.overlays);
    if (text) address.searchParams.set(PARAMETER, text);
    else address.searchParams.delete(PARAMETER);
    if (address.href !== location.href) history.replaceState(history.state, "", address.href);
  }

  /** What was kept, or nothing: an older page, or somebody by hand, may have written something else. */
  #read() {
    const names = (value) => (Array.isArray(value) ? value.filter((name) => typeof name === "string") : []);
    const entries = (value) => (value && typeof value === "object" ? Object.entries(value) : []);
    let kept = null;
    try {
      kept = this.place && JSON.parse(localStorage.getItem(this.place));
    } catch {
      // No storage, or no JSON in it.
    }
    return {
      pinned: names(kept?.pinned),
      hidden: names(kept?.hidden),
      overlays: Object.fromEntries(entries(kept?.overlays).map(([name, over]) => [name, names(over)])),
      folded: Object.fromEntries(entries(kept?.folded).map(([group, on]) => [group, Boolean(on)])),
    };
  }
}
