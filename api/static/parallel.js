// Parallel coordinates: one line for each run through an axis for each of its columns, coloured by the last one.
import { cssColour, measured } from "./charts.js";

const NS = "http://www.w3.org/2000/svg";
const [HEIGHT, TOP, BOTTOM, SIDE] = [320, 40, 34, 60];
const MOST_LABELS = 12;

/** Viridis, without the colours that are too light or too dark for one of the backgrounds. */
const SCALE = [[72, 80, 160], [49, 120, 150], [38, 150, 130], [80, 180, 90], [180, 190, 40]];

function make(name, attributes, content = "") {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (content) element.textContent = content;
  return element;
}

/** Place the values of a column between 0 and 1: numbers on their scale, texts in their order. */
function scaleOf(values, { name, logarithmic }) {
  const known = values.filter((v) => v !== null && v !== undefined);
  if (!known.every((v) => typeof v === "number")) {
    const texts = [...new Set(known.map(String))].sort();
    return { place: (v) => (texts.length < 2 ? 0.5 : texts.indexOf(String(v)) / (texts.length - 1)), marks: texts.slice(0, MOST_LABELS).map((t) => [t, t]) };
  }
  const shape = logarithmic && known.every((v) => v > 0) ? Math.log10 : (v) => v;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const span = shape(high) - shape(low);
  const place = (v) => (span > 0 ? (shape(v) - shape(low)) / span : 0.5);
  return { place, marks: [...new Set([low, high])].map((v) => [v, measured(name, v)]) };
}

/** The colour of a *share* between 0 and 1. */
export function shade(share) {
  const at = Math.max(0, Math.min(1, share)) * (SCALE.length - 1);
  const i = Math.min(SCALE.length - 2, Math.floor(at));
  return `#${SCALE[i].map((from, k) => Math.round(from + (SCALE[i + 1][k] - from) * (at - i)).toString(16).padStart(2, "0")).join("")}`;
}

/**
 * Draw into *box* the *rows*, {label, values, ink}, along *axes*, {name, logarithmic}; return how many lack a value.
 *
 * If a run lacks a value, its line would join axes that are not next to each other, so it is left out.
 */
export function drawParallel(box, axes, rows) {
  const whole = rows.filter((row) => row.values.every((v) => v !== null && v !== undefined));
  if (!whole.length) { box.replaceChildren(Object.assign(document.createElement("p"), { className: "quiet", textContent: "No run has a value for every axis." })); return rows.length; }
  const width = Math.max(box.clientWidth || 600, axes.length * 110);
  const svg = make("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": `${whole.length} runs along ${axes.map((a) => a.name).join(", ")}` });
  const scales = axes.map((axis, i) => scaleOf(whole.map((row) => row.values[i]), axis));
  const x = (i) => SIDE + (axes.length < 2 ? 0 : (i * (width - 2 * SIDE)) / (axes.length - 1));
  const y = (share) => HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
  const last = axes.length - 1;
  const sorted = [...whole].sort((a, b) => scales[last].place(a.values[last]) - scales[last].place(b.values[last]));
  for (const row of sorted) {
    const points = row.values.map((value, i) => `${x(i)},${y(scales[i].place(value))}`).join(" ");
    const line = make("polyline", { points, class: "run", stroke: row.ink ?? shade(scales[last].place(row.values[last])) });
    line.append(make("title", {}, row.label));
    svg.append(line);
  }
  axes.forEach((axis, i) => svg.append(...drawAxis(axis, x(i), y, scales[i], i % 2)));
  box.replaceChildren(svg);
  return rows.length - whole.length;
}

function drawAxis(axis, x, y, scale, isLower) {
  const ink = cssColour("--ink");
  const name = make("text", { x, y: isLower ? 30 : 14, "text-anchor": "middle", fill: ink, class: "axis-name" }, axis.name);
  const line = make("line", { x1: x, x2: x, y1: y(0), y2: y(1), stroke: cssColour("--quiet") });
  const marks = scale.marks.map(([value, text]) => make("text", { x: x + 5, y: y(scale.place(value)) + (scale.place(value) === 0 ? 14 : 4), fill: ink, class: "mark" }, text));
  return [line, name, ...marks];
}
