// The lines of a chart by name, with their values under the cursor.

import { button, element, iconButton } from "./dom.js";
import { formatValue } from "./series.js";

const ENTRIES = 10;

export class Legend {
  /**
   * @param {object} options `onToggle(line)` when a line's `shown` changed, `onRemove(layer)` when a layer shall go; a
   *   layer can go when it is `removable`
   */
  constructor(layers, lines, { onToggle, onRemove }) {
    this.lines = lines;
    this.onToggle = onToggle;
    this.onRemove = onRemove;
    this.root = element("div", "legend");
    this.root.setAttribute("aria-live", "off");
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
    if (layer.removable) {
      row.append(button("legend-more", "×", `Remove ${layer.label}`, () => this.onRemove(layer)));
      row.lastChild.setAttribute("aria-label", `Remove ${layer.label}`);
    }
    this.root.append(row);
  }

  #entry(line, single) {
    const entry = single
      ? element("span", "legend-entry")
      : button("legend-entry", undefined, "", () => this.#toggle(entry, line));
    entry.append(element("i", `swatch line-${line.colour}${line.dash ? " dashed" : ""}`));
    if (!single) {
      entry.setAttribute("aria-pressed", "true");
      entry.title = "Show or hide this line";
    }
    if (!single || line.isNamed) entry.append(element("span", "legend-label", line.label));
    const value = element("span", "legend-value", "–");
    entry.append(value);
    this.values.push(value);
    const unit = line.layer.overview.units[line.column];
    // One unit for all lines stands beside the stream's name.
    if (unit && !line.layer.overview.unit) entry.append(element("span", "legend-unit", unit));
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
  return `${source.decimated ? "≈" : ""}${namedValue(source, value)}`;
}

/** A value as a reader knows it: true and false, or what an integer means. */
export function namedValue(stream, value) {
  if (value === undefined) return formatValue(value);
  if (stream.isFlag) return String(value !== 0);
  const meaning = Number.isInteger(value) ? stream.meanings?.[value] : undefined;
  return meaning === undefined ? formatValue(value) : `${value} ${meaning}`;
}
