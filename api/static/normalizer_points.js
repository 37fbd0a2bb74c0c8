// Points on a canvas: one value of a sample each, coloured by its channel or its sample.
import { colour, cssColour, readable } from "./charts.js";

const HEIGHT = 340;
const EDGE = { left: 46, right: 10, top: 10, bottom: 34 };

function span(values) {
  const known = values.filter(Number.isFinite);
  const [low, high] = [Math.min(...known, 0), Math.max(...known, 0)];
  const rest = (high - low || 1) * 0.06;
  return [low - rest, high + rest];
}

export class Scatter {
  constructor(parent, across, up, say) {
    Object.assign(this, { parent, across, up, say });
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-roledescription", "scatter plot");
    parent.replaceChildren(this.canvas);
    this.canvas.addEventListener("pointermove", (event) => this.pointed(event));
    this.canvas.addEventListener("keydown", (event) => this.pressed(event));
    new ResizeObserver(() => this.draw()).observe(parent);
  }

  show(x, y, groups, name) {
    Object.assign(this, { x, y, groups, name, at: 0 });
    this.canvas.setAttribute("aria-label", `${this.up} over ${this.across}: ${x.length} points, coloured by ${name}. Arrow keys go from point to point.`);
    this.draw();
  }

  draw() {
    const width = this.parent.clientWidth;
    if (!this.x || !width) return;
    const dots = devicePixelRatio || 1;
    Object.assign(this.canvas, { width: width * dots, height: HEIGHT * dots });
    this.canvas.style.height = `${HEIGHT}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(dots, dots);
    pen.font = "11px system-ui, sans-serif";
    const [xs, ys] = [span(this.x), span(this.y)];
    this.toX = (v) => EDGE.left + ((v - xs[0]) / (xs[1] - xs[0])) * (width - EDGE.left - EDGE.right);
    this.toY = (v) => HEIGHT - EDGE.bottom - ((v - ys[0]) / (ys[1] - ys[0])) * (HEIGHT - EDGE.top - EDGE.bottom);
    this.axes(pen, xs, ys, width);
    this.x.forEach((value, i) => {
      if (this.y[i] === null || value === null) return;
      pen.fillStyle = colour(this.groups[i]);
      pen.globalAlpha = 0.75;
      pen.beginPath();
      pen.arc(this.toX(value), this.toY(this.y[i]), 2.6, 0, 2 * Math.PI);
      pen.fill();
    });
    pen.globalAlpha = 1;
    this.ring(pen);
  }

  axes(pen, xs, ys, width) {
    pen.strokeStyle = cssColour("--line");
    pen.fillStyle = cssColour("--quiet");
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(EDGE.left, this.toY(0)); pen.lineTo(width - EDGE.right, this.toY(0));
    pen.moveTo(this.toX(0), EDGE.top); pen.lineTo(this.toX(0), HEIGHT - EDGE.bottom);
    pen.stroke();
    pen.textBaseline = "top";
    pen.fillText(readable(xs[0]), EDGE.left, HEIGHT - EDGE.bottom + 4);
    pen.fillText(this.across, EDGE.left, HEIGHT - EDGE.bottom + 18);
    pen.textAlign = "right";
    pen.fillText(readable(xs[1]), width - EDGE.right, HEIGHT - EDGE.bottom + 4);
    pen.fillText(readable(ys[1]), EDGE.left - 4, EDGE.top);
    pen.fillText(readable(ys[0]), EDGE.left - 4, HEIGHT - EDGE.bottom - 12);
    pen.textAlign = "left";
    pen.save();
    pen.translate(4, HEIGHT / 2 + 40);
    pen.rotate(-Math.PI / 2);
    pen.fillText(this.up, 0, 0);
    pen.restore();
  }

  ring(pen) {
    if (document.activeElement !== this.canvas) return;
    pen.strokeStyle = cssColour("--ink");
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(this.toX(this.x[this.at]), this.toY(this.y[this.at]), 6, 0, 2 * Math.PI);
    pen.stroke();
  }

  pointed(event) {
    if (!this.x) return;
    const box = this.canvas.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let nearest = Infinity;
    this.x.forEach((value, i) => {
      const far = (this.toX(value) - px) ** 2 + (this.toY(this.y[i]) - py) ** 2;
      if (far < nearest) [nearest, this.at] = [far, i];
    });
    this.tell();
  }

  pressed(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!step || !this.x) return;
    event.preventDefault();
    this.at = (this.at + step + this.x.length) % this.x.length;
    this.draw();
    this.tell();
  }

  tell() {
    this.say(`${this.name} ${this.groups[this.at]}: ${this.across} ${readable(this.x[this.at])}, ${this.up} ${readable(this.y[this.at])}`);
  }
}
