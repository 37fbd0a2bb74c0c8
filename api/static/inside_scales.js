// Colours of numbers: a scale maps values to 0..1, and to colours that colour-blind people can order.
import { readable } from "./charts.js";

const RISING = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const APART = ["#2166ac", "#4393c3", "#92c5de", "#e8e8e8", "#f4a582", "#d6604d", "#b2182b"];

const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

function mixed(palette, at) {
  const place = Math.min(Math.max(at, 0), 1) * (palette.length - 1);
  const i = Math.min(Math.floor(place), palette.length - 2);
  const parts = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
  const [a, b] = [parts(palette[i]), parts(palette[i + 1])];
  return `rgb(${a.map((x, k) => Math.round(x + (b[k] - x) * (place - i))).join(" ")})`;
}

export class Scale {
  /** *kind*: share (0 to 1), ratio (logarithmic, on both sides of 1), log, or linear over *values*. */
  constructor(kind, values) {
    const found = values.filter(known);
    const positive = found.filter((value) => value > 0);
    this.kind = (kind === "log" || kind === "ratio") && !positive.length ? "linear" : kind;
    if (this.kind === "share") [this.low, this.high] = [0, 1];
    else if (this.kind === "ratio") {
      const farthest = positive.reduce((most, value) => Math.max(most, Math.abs(Math.log(value))), Math.log(2));
      [this.low, this.high] = [Math.exp(-farthest), Math.exp(farthest)];
    } else {
      const of = this.kind === "log" ? positive : found;
      this.low = of.reduce((a, b) => Math.min(a, b), Infinity);
      this.high = of.reduce((a, b) => Math.max(a, b), -Infinity);
      if (!of.length) [this.low, this.high] = [0, 1];
    }
  }

  /** From 0 for the lowest to 1 for the highest value; null without a value. */
  position(value) {
    if (!known(value)) return null;
    if (this.high === this.low) return 0.5;
    const logarithmic = this.kind === "log" || this.kind === "ratio";
    const f = logarithmic ? (x) => Math.log(Math.max(x, this.low)) : (x) => x;
    return Math.min(1, Math.max(0, (f(value) - f(this.low)) / (f(this.high) - f(this.low))));
  }

  at(position) {
    return mixed(this.kind === "ratio" ? APART : RISING, position);
  }

  /** The colour of *value*; null without a value. */
  colour(value) {
    const position = this.position(value);
    return position === null ? null : this.at(position);
  }

  /** The words at the ends of the legend. */
  ends() {
    return [readable(this.low), readable(this.high)];
  }
}
