// A network as a picture: a bar for each layer, arcs for shortcuts, and what each layer costs.
import { cssColour, readable } from "./charts.js";

const [MIDDLE, TALLEST, COSTS, COSTLIEST, TALL] = [106, 84, 200, 30, 226];
const [EDGE, GAP, JOIN, MOST_LARGER, MOST_WIDER] = [6, 5, 9, 1.7, 3];
const SPACE = "http://www.w3.org/2000/svg";

function drawn(name, attributes, text = "") {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

const side = (shape) => Math.sqrt(shape.slice(1).reduce((a, b) => a * b, 1));
const shown = (shape) => shape.join(" × ");

export class Net {
  /** *figure* has the box, the readout and the table of one run's network; *choose* takes a layer. */
  constructor(figure, choose) {
    this.box = figure.querySelector(".net-box");
    this.readout = figure.querySelector(".readout");
    this.choose = choose;
    this.bars = new Map();
    new ResizeObserver(() => this.fit()).observe(this.box);
  }

  /** Draw again if the width has changed. */
  fit() {
    if (!this.layers || this.box.clientWidth === this.room) return;
    this.show(this.layers);
    this.paint(...this.painted);
  }

  show(layers) {
    this.layers = layers;
    const most = (field) => Math.max(1, ...layers.map((layer) => layer[field]));
    this.scaleOf = { filter: ["products", most("products")], normalizer: ["values", most("values")] };
    const tallest = Math.log(2 + Math.max(...layers.map((layer) => side(layer.output))));
    const isJoin = (layer) => layer.role === "join";
    const widths = layers.map((layer) => (isJoin(layer) ? JOIN : 7 + 1.9 * Math.log2(1 + layer.output[0])));
    const natural = widths.reduce((sum, width) => sum + width + GAP, 2 * EDGE);
    this.room = this.box.clientWidth;
    const larger = Math.min(MOST_LARGER, Math.max(1, (this.room - 4) / natural));
    const wider = Math.min(MOST_WIDER, Math.max(1, (this.room - 4) / (natural * larger))); // a wide column is filled, and no taller
    let x = EDGE * wider;
    this.places = layers.map((layer, i) => {
      const slot = widths[i] * wider;
      const width = isJoin(layer) ? JOIN : slot;
      const height = isJoin(layer) ? JOIN : 10 + TALLEST * (Math.log(2 + side(layer.output)) / tallest);
      const place = { x: x + (slot - width) / 2, width, height, middle: x + slot / 2 };
      x += slot + GAP * wider;
      return place;
    });
    x = natural * wider - EDGE;
    this.svg = drawn("svg", { viewBox: `0 0 ${natural * wider} ${TALL}`, width: natural * wider * larger, height: TALL * larger, role: "application", "aria-roledescription": "network", tabindex: 0,
      "aria-label": `Network of ${layers.length} layers. Left and right arrow keys move through the layers.` });
    this.svg.addEventListener("keydown", (event) => this.pressed(event));
    layers.forEach((layer, i) => this.arcs(layer, i));
    layers.forEach((layer, i) => this.layer(layer, i));
    this.words(x);
    this.box.replaceChildren(this.svg);
  }

  arcs(layer, i) {
    for (const from of layer.after) {
      const [a, b] = [this.places[from], this.places[i]];
      const straight = i - from === 1;
      const top = MIDDLE - TALLEST / 2 - 8;
      const rise = Math.min(44, 10 + 4 * (i - from));
      const d = straight
        ? `M ${a.x + a.width} ${MIDDLE} H ${b.x}`
        : `M ${a.middle} ${MIDDLE - a.height / 2} C ${a.middle} ${top - rise} ${b.middle} ${top - rise} ${b.middle} ${MIDDLE - b.height / 2}`;
      this.svg.append(drawn("path", { d, fill: "none", stroke: cssColour("--quiet"), "stroke-width": straight ? 1.5 : 1.25 }));
    }
  }

  layer(layer, i) {
    const { x, width, height } = this.places[i];
    const bar = drawn("rect", { class: "layer", x, y: MIDDLE - height / 2, width, height, rx: { normalizer: 4, join: 4.5 }[layer.role] ?? 0 });
    bar.append(drawn("title", {}, this.told(layer)));
    bar.addEventListener("pointerenter", () => { this.readout.textContent = this.told(layer); });
    bar.addEventListener("click", () => this.choose(layer.name));
    this.svg.append(bar);
    this.bars.set(layer.name, bar);
    const [field, most] = this.scaleOf[layer.role] || [];
    if (!field) return;
    const cost = COSTLIEST * (layer[field] / most);
    const fill = layer.role === "filter" ? "--accent" : "--good";
    this.svg.append(drawn("rect", { x, y: COSTS - cost, width, height: Math.max(cost, 0.5), fill: cssColour(fill) }));
  }

  words(width) {
    this.svg.append(drawn("line", { x1: 0, x2: width, y1: COSTS + 0.5, y2: COSTS + 0.5, stroke: cssColour("--line") }));
    let last = "";
    let free = 0;
    this.layers.forEach((layer, i) => {
      const text = shown(layer.output);
      const { x } = this.places[i];
      if (text === last || x < free) return;
      this.svg.append(drawn("text", { x, y: COSTS + 18 }, text));
      last = text;
      free = x + 6.2 * text.length + 8;
    });
  }

  told(layer) {
    const cost = layer.role === "filter" ? `${layer.products.toLocaleString("en")} multiplications` : `${layer.values.toLocaleString("en")} values`;
    const often = layer.calls > 1 ? `, called ${layer.calls} times` : "";
    const weights = layer.weights_normalized ? ", its weights are normalized" : "";
    return `${layer.name}: ${layer.type}, ${shown(layer.input)} to ${shown(layer.output)}, ${layer.parameters.toLocaleString("en")} parameters, ${layer.state.toLocaleString("en")} numbers of state, ${cost} for a sample${often}${weights}`;
  }

  pressed(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !this.layers) return;
    event.preventDefault();
    const at = this.layers.findIndex((layer) => layer.name === this.chosen);
    const next = this.layers[Math.min(Math.max(at + step, 0), this.layers.length - 1)];
    this.choose(next.name);
    this.bars.get(next.name).scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** Colour the layers by *value* of their name on *scale*, and mark the layer *chosen*. */
  paint(value, scale, chosen) {
    this.painted = [value, scale, chosen];
    if (!this.layers) return;
    this.chosen = chosen;
    for (const layer of this.layers) {
      const bar = this.bars.get(layer.name);
      const own = { other: "--line", join: "--quiet" }[layer.role] ?? "--raised";
      bar.setAttribute("fill", scale?.colour(value(layer.name)) ?? cssColour(own));
      bar.setAttribute("stroke", cssColour(layer.role === "other" ? "--line" : "--quiet"));
      bar.classList.toggle("chosen", layer.name === chosen);
    }
    const layer = this.layers.find((one) => one.name === chosen);
    if (!layer) return;
    const measured = scale && value(chosen) !== null ? `; shown: ${readable(value(chosen))}` : "";
    this.readout.textContent = this.told(layer) + measured;
  }
}
