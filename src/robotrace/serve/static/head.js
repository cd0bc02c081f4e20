// The head of a chart: its name, unit and legend, and what one can do with it.

import { button, element, iconButton } from "./dom.js";
import { nameWithin } from "./groups.js";
import { namedValue } from "./legend.js";

export class ChartHead {
  constructor(chart) {
    this.chart = chart;
    this.root = element("header", "chart-head");
    this.group = "";
    this.isPinned = false;
    this.isHidden = false;
    this.suggestion = null;
  }

  /** What the list decides: the group it stands in, whether it is pinned or hidden, what could lie over it. */
  place({ group, isPinned, isHidden, suggestion }) {
    Object.assign(this, { group, isPinned, isHidden, suggestion });
    this.fill();
  }

  fill() {
    const { chart } = this;
    this.root.replaceChildren(this.#name(), ...this.#badges());
    if (chart.shape === "constant") this.root.append(this.#constant());
    else this.root.append(chart.legend.root);
    this.root.append(this.#tools());
  }

  #name() {
    const { stream, name } = this.chart;
    const heading = element("h2", "chart-name", nameWithin(name, this.group));
    heading.title = `${name}: ${stream.artifact}.npz · ${stream.dtype} · ${stream.count} × [${stream.shape.join(", ")}]`;
    return heading;
  }

  #badges() {
    const { stream } = this.chart;
    const badges = [];
    if (stream.unit) badges.push(element("span", "unit", stream.unit));
    if (stream.left) badges.push(element("span", "badge", "loading"));
    if (stream.missing) {
      const badge = element("span", "badge warn", stream.decimated ? "gaps" : `${stream.missing} not a number`);
      badge.title = "Values that are NaN or infinite leave a gap in the line";
      badges.push(badge);
    }
    return badges;
  }

  /** A stream that never changes is a sentence, not a chart. */
  #constant() {
    const { stream } = this.chart;
    const values = stream.columns.map((column) => namedValue(stream, column[0]));
    const same = values.every((value) => value === values[0]);
    const text = same ? values[0] : values.join(", ");
    return element("span", "constant-value", `constant ${text}`);
  }

  #tools() {
    const { chart } = this;
    const { list } = chart.stack;
    const tools = element("div", "chart-actions");
    if (this.suggestion && !chart.over.length) {
      const { name } = this.suggestion;
      tools.append(button("suggestion", `+ ${name}`, `Draw ${name} over it`, () => list.setOverlays(chart, [name])));
    }
    if (chart.canDiffer) {
      const toggle = button("suggestion", "Difference", `${chart.name} − ${chart.over[0].label}`, () =>
        chart.setDifference(!chart.showsDifference),
      );
      toggle.setAttribute("aria-pressed", String(chart.showsDifference));
      tools.append(toggle);
    }
    const row = element("div", "chart-tool-row");
    row.append(
      iconButton("layers", `Overlay on ${chart.name}`, () => list.chooseOverlay(chart)),
      iconButton("pin", `Pin ${chart.name}`, () => list.pin(chart, !this.isPinned), this.isPinned),
      iconButton("hide", `Hide ${chart.name}`, () => list.hide(chart, !this.isHidden), this.isHidden),
    );
    tools.append(row);
    return tools;
  }
}
