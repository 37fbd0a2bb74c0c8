// A heat map of layers by epochs on a canvas, with the layers' values at the present moment beside it.
import { colour, cssColour, readable } from "./charts.js";
import { epochs, reading } from "./inside_runs.js";
import { counted } from "./not_finite.js";

const FOOT = 40;
const FONT = "11px system-ui, sans-serif";

export class HeatMap {
  /** *parent* gets the canvas; *say* shows a text; *choose* takes a layer, *goTo* an epoch. */
  constructor(parent, { say, choose, goTo }) {
    Object.assign(this, { parent, say, choose, goTo });
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-roledescription", "heat map");
    parent.replaceChildren(this.canvas);
    this.canvas.addEventListener("pointermove", (event) => this.pointed(event));
    this.canvas.addEventListener("pointerleave", () => this.tell());
    this.canvas.addEventListener("click", (event) => this.clicked(event));
    this.canvas.addEventListener("keydown", (event) => this.pressed(event));
    new ResizeObserver(() => this.draw()).observe(parent);
  }

  /** *view*: {matrix, scale, title, last, now, chosen, terms}; terms: [{title, matrix}] that add up. */
  show(view) {
    Object.assign(this, view);
    const rows = this.matrix.sites.length;
    this.rowHeight = Math.round(Math.min(22, Math.max(9, 440 / rows)));
    const bad = counted(Object.values(this.matrix.not_finite));
    this.canvas.setAttribute("aria-label", `${this.title}: ${rows} layers over ${this.matrix.times.length} readings${bad ? `, of which ${bad} (a bar in the cell)` : ""}. Arrow keys move through layers and time.`);
    this.draw();
    this.tell();
  }

  draw() {
    const width = this.parent.clientWidth;
    if (!this.matrix || !width) return;
    const rows = this.matrix.sites.length;
    const height = rows * this.rowHeight + FOOT;
    const dots = devicePixelRatio || 1;
    Object.assign(this.canvas, { width: width * dots, height: height * dots });
    this.canvas.style.height = `${height}px`;
    this.labels = Math.min(150, Math.round(width * 0.28));
    this.profile = Math.min(190, Math.round(width * 0.25));
    this.heat = width - this.labels - this.profile - 12;
    const pen = this.canvas.getContext("2d");
    pen.scale(dots, dots);
    pen.font = FONT;
    this.cells(pen);
    this.names(pen);
    this.bars(pen);
    this.foot(pen, rows * this.rowHeight, width);
  }

  x(time) {
    return this.labels + (Math.min(time, this.last) / this.last) * this.heat;
  }

  cells(pen) {
    const { times, values } = this.matrix;
    const bottom = values.length * this.rowHeight;
    values.forEach((row, r) => row.forEach((value, k) => {
      const found = this.scale.colour(value);
      const [left, right] = [this.x(k ? times[k - 1] : 0), this.x(times[k])];
      pen.fillStyle = found ?? cssColour("--raised");
      pen.fillRect(left, r * this.rowHeight, Math.max(right - left, 0.5) + 0.4, this.rowHeight - 1);
      if (value !== null && !Number.isFinite(value)) this.mark(pen, left, right, r);
    }));
    const now = this.x(times[reading(times, this.now)]);
    pen.fillStyle = cssColour("--ink");
    pen.fillRect(now - 1, 0, 2, bottom);
  }

  /** A bar in the middle of a cell says that its number is NaN or infinite; no colour could. */
  mark(pen, left, right, r) {
    pen.fillStyle = cssColour("--ink");
    pen.fillRect(left, (r + 0.5) * this.rowHeight - 1.5, Math.max(right - left, 0.5), 2);
  }

  names(pen) {
    const each = Math.ceil(11 / this.rowHeight);
    pen.textBaseline = "middle";
    this.matrix.sites.forEach((site, r) => {
      const chosen = site === this.chosen;
      if (r % each && !chosen) return;
      pen.fillStyle = cssColour(chosen ? "--accent" : "--quiet");
      pen.font = chosen ? `bold ${FONT}` : FONT;
      pen.fillText(shortened(pen, site || "network", this.labels - 8), 0, (r + 0.5) * this.rowHeight);
    });
    pen.font = FONT;
  }

  bars(pen) {
    const left = this.labels + this.heat + 12;
    const at = reading(this.matrix.times, this.now);
    if (this.terms) return this.stacked(pen, left);
    this.matrix.values.forEach((row, r) => {
      const position = this.scale.position(row[at]);
      if (position === null) return;
      pen.fillStyle = this.scale.at(position);
      const middle = this.scale.kind === "ratio" ? 0.5 : 0;
      const [a, b] = [Math.min(middle, position), Math.max(middle, position)];
      pen.fillRect(left + a * this.profile, r * this.rowHeight, Math.max(2, (b - a) * this.profile), this.rowHeight - 1);
    });
    return undefined;
  }

  stacked(pen, left) {
    const most = this.most();
    this.matrix.sites.forEach((site, r) => {
      let from = 0;
      this.terms.forEach(({ matrix }, i) => {
        const value = finite(valueAt(matrix, site, this.now));
        const width = (value / most) * this.profile;
        pen.fillStyle = colour(i);
        pen.fillRect(left + from, r * this.rowHeight, width, this.rowHeight - 1);
        from += width;
      });
    });
  }

  /** The largest sum of the terms, over all layers and readings, so that the bars of all moments are comparable. */
  most() {
    const [first] = this.terms;
    const sums = first.matrix.values.flatMap((row, r) => row.map((_, k) => this.terms.reduce((sum, { matrix }) => sum + finite(matrix.values[r]?.[k]), 0)));
    return Math.max(this.ceiling || 0, sums.reduce((a, b) => Math.max(a, b), 0)) || 1;
  }

  foot(pen, top, width) {
    pen.fillStyle = cssColour("--quiet");
    pen.textBaseline = "top";
    pen.fillText("epoch 0", this.labels, top + 4);
    pen.textAlign = "right";
    pen.fillText(epochs(this.last), this.labels + this.heat, top + 4);
    pen.textAlign = "left";
    pen.fillText(shortened(pen, `at epoch ${epochs(this.matrix.times[reading(this.matrix.times, this.now)] ?? 0)}`, this.profile), width - this.profile, top + 4);
    const [low, high] = this.scale.ends();
    for (let i = 0; i < 60; i += 1) {
      pen.fillStyle = this.scale.at(i / 59);
      pen.fillRect(this.labels + (i / 60) * this.heat, top + 20, this.heat / 60 + 0.5, 6);
    }
    pen.fillStyle = cssColour("--quiet");
    pen.fillText(low, this.labels, top + 28);
    pen.textAlign = "right";
    pen.fillText(high, this.labels + this.heat, top + 28);
    pen.textAlign = "left";
  }

  cell(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const row = Math.floor(y / this.rowHeight);
    if (!this.matrix || row < 0 || row >= this.matrix.sites.length) return null;
    const time = ((x - this.labels) / this.heat) * this.last;
    const column = this.matrix.times.findIndex((t) => t >= time);
    const inside = x >= this.labels && x <= this.labels + this.heat && column >= 0;
    return { row, column: inside ? column : reading(this.matrix.times, this.now), inside };
  }

  pointed(event) {
    const found = this.cell(event);
    if (found) this.tell(found.row, found.column);
  }

  clicked(event) {
    const found = this.cell(event);
    if (!found) return;
    this.choose(this.matrix.sites[found.row]);
    if (found.inside) this.goTo(this.matrix.times[found.column]);
  }

  pressed(event) {
    const rows = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const columns = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!rows && !columns) return;
    event.preventDefault();
    const { sites, times } = this.matrix;
    if (rows) this.choose(sites[(this.row() + rows + sites.length) % sites.length]);
    else this.goTo(times[Math.min(Math.max(reading(times, this.now) + columns, 0), times.length - 1)]);
  }

  row() {
    return Math.max(0, this.matrix.sites.indexOf(this.chosen));
  }

  tell(row = this.row(), column = reading(this.matrix.times, this.now)) {
    const { sites, times, values } = this.matrix;
    this.say(`${sites[row] || "network"}, epoch ${epochs(times[column] ?? 0)}: ${readable(values[row]?.[column])}`);
  }
}

const finite = (value) => (Number.isFinite(value) ? value : 0);

export function valueAt(matrix, site, time) {
  const row = matrix.values[matrix.sites.indexOf(site)];
  return row ? row[reading(matrix.times, time)] : null;
}

function shortened(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let kept = text;
  while (kept.length > 1 && pen.measureText(`…${kept}`).width > width) kept = kept.slice(1);
  return `…${kept}`;
}
