// The lines of a chart by name, with their values under the cursor.

import { button, element } from "./dom.js";
import { formatValue } from "./series.js";

const ENTRIES = 10;

export class Legend {
  /** @param {function} onToggle called with the line whose `shown` changed */
  constructor(layers, lines, onToggle) {
    this.lines = lines;
    this.onToggle = onToggle;
    this.root = element("div", "legend");
    this.values = [];
    for (const layer of layers) this.#addLayer(layer, lines.filter((line) => line.layer === layer));
  }

  /** The values in force at a time. */
  show(timeMs) {
    this.lines.forEach((line, index) => {
      const text = valueAt(line, timeMs);
      const target = this.values[index];
      if (target.textContent !== text) target.textContent = text;
    });
  }

  #addLayer(layer, lines) {
    const row = element("div", "legend-layer");
    if (layer.label) row.append(element("span", "layer-name", layer.label));
    for (const line of lines) row.append(this.#entry(line, lines.length === 1));
    const rest = lines.length - ENTRIES;
    if (rest > 0) {
      const entries = [...row.querySelectorAll(".legend-entry")];
      entries.slice(ENTRIES).forEach((entry) => (entry.hidden = true));
      const more = button("legend-more", `+${rest}`, "Name the other lines too", () => {
        for (const entry of entries) entry.hidden = false;
        more.hidden = true;
      });
      row.append(more);
    }
    this.root.append(row);
  }

  #entry(line, single) {
    const entry = single
      ? element("span", "legend-entry")
      : button("legend-entry", "", "", () => this.#toggle(entry, line));
    entry.append(element("i", `swatch line-${line.colour}${line.dash ? " dashed" : ""}`));
    if (!single) {
      entry.setAttribute("aria-pressed", "true");
      entry.title = "Show or hide this line";
      entry.append(element("span", "legend-label", line.label));
    }
    const value = element("span", "legend-value", "–");
    entry.append(value);
    this.values.push(value);
    return entry;
  }

  #toggle(entry, line) {
    line.shown = !line.shown;
    entry.setAttribute("aria-pressed", String(line.shown));
    this.onToggle(line);
  }
}

/** The value of a line in force at a time, as text. */
export function valueAt(line, timeMs) {
  const { stream, layer, column } = line;
  const { time } = stream;
  // A window's answer ends one sample beyond the window; the cursor may stand anywhere.
  const inside = time.length && timeMs >= time[0] && timeMs <= time[time.length - 1];
  const source = inside ? stream : layer.overview;
  // Of a thinned-out stream only the extremes of its neighbourhood are here.
  const row = source.decimated ? Math.max(0, source.rowAt(timeMs)) : source.rowAt(timeMs);
  const value = row < 0 ? undefined : source.columns[column][row];
  return `${source.decimated ? "≈" : ""}${source.isFlag && value !== undefined ? value !== 0 : formatValue(value)}`;
}
