// The lines of a chart by name, with their values under the cursor.

import { button, element } from "./dom.js";
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
    this.values = new Map();
    const linesOf = (layer) => lines.filter((line) => line.layer === layer);
    if (layers.length > 1 && sameColumns(layers)) {
      const all = layers.map(linesOf);
      this.root.append(this.#names(layers), this.#row(all[0].map((_, column) => all.map((one) => one[column]))));
      return;
    }
    for (const layer of layers) {
      const row = this.#row(linesOf(layer).map((line) => [line]));
      // The unit of the chart's own stands in its head.
      if (layer.removable && layer.overview.unit) row.prepend(element("span", "unit", layer.overview.unit));
      if (layer.label) row.prepend(element("span", "layer-name", layer.label));
      if (layer.removable) row.append(this.#remover(layer));
      this.root.append(row);
    }
  }

  /** The values in force at a time. */
  show(timeMs) {
    for (const [line, target] of this.values) {
      const text = valueAt(line, timeMs);
      if (target.textContent !== text) target.textContent = text;
    }
  }

  /** Which dashes are whose, where the layers share their columns' names and colours. */
  #names(layers) {
    const row = element("div", "legend-layers");
    layers.forEach((layer, number) => {
      const name = element("span", "layer-name");
      name.append(element("i", swatch(number)), layer.label);
      row.append(name);
      if (layer.removable) row.append(this.#remover(layer));
    });
    return row;
  }

  #remover(layer) {
    const remove = button("legend-more", "×", `Remove ${layer.label}`, () => this.onRemove(layer));
    remove.setAttribute("aria-label", `Remove ${layer.label}`);
    return remove;
  }

  /** An entry for each group of lines that are shown and hidden together. */
  #row(groups) {
    const row = element("div", "legend-layer");
    const entries = groups.map((lines) => this.#entry(lines, groups.length === 1));
    row.append(...entries);
    const rest = entries.length - ENTRIES;
    if (rest > 0) {
      entries.slice(ENTRIES).forEach((entry) => (entry.hidden = true));
      const more = button("legend-more", `+${rest}`, "Name the other lines too", () => {
        for (const entry of entries) entry.hidden = false;
        more.hidden = true;
      });
      row.append(more);
    }
    return row;
  }

  #entry(lines, single) {
    const [line] = lines;
    const entry = single
      ? element("span", "legend-entry")
      : button("legend-entry", undefined, "", () => this.#toggle(entry, lines));
    if (!single) {
      entry.setAttribute("aria-pressed", "true");
      entry.title = "Show or hide this line";
    }
    const named = !single || line.isNamed;
    if (named && lines.length > 1) entry.append(element("span", "legend-label", line.label));
    for (const one of lines) {
      const value = element("span", "legend-value", "–");
      entry.append(element("i", `${swatch(one.dash)} line-${one.colour}`));
      if (named && lines.length === 1) entry.append(element("span", "legend-label", line.label));
      entry.append(value);
      this.values.set(one, value);
    }
    const unit = line.layer.overview.units[line.column];
    // One unit for all lines stands beside the stream's name.
    if (unit && !line.layer.overview.unit) entry.append(element("span", "legend-unit", unit));
    return entry;
  }

  #toggle(entry, lines) {
    const shown = !lines[0].shown;
    entry.setAttribute("aria-pressed", String(shown));
    for (const line of lines) {
      line.shown = shown;
      this.onToggle(line);
    }
  }
}

function swatch(dash) {
  return `swatch${dash ? " dashed" : ""}`;
}

function sameColumns(layers) {
  const [{ overview: first }] = layers;
  const differ = (a, b) => a.length > 0 && b.length > 0 && a.join() !== b.join();
  const isSame = ({ overview: { labels, units } }) =>
    labels.join("\n") === first.labels.join("\n") && !differ(units, first.units);
  return first.columns.length > 1 && layers.every(isSame);
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
