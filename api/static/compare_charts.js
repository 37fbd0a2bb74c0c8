// The charts of a comparison: curves with their bands, and points of two columns.
import { colour, cssColour, incrementsOf, marks, marksOf, measured, readable, WHOLE } from "./charts.js";

const HEIGHT = 380;
const [MOST_TEXTS, MOST_LETTERS] = [12, 20]; // of the marks of an axis
const DASHES = [undefined, [8, 5], [2, 4]]; // there are eight colours

function axes(x, y) {
  const line = { stroke: cssColour("--quiet"), grid: { stroke: cssColour("--line"), width: 1 }, ticks: { stroke: cssColour("--line"), width: 1 } };
  const numbers = (u, ticks) => marks(ticks);
  const named = { labelSize: 18, labelFont: "12px system-ui, sans-serif" };
  return [{ ...line, ...named, values: numbers, size: 36, ...x }, { ...line, ...named, size: 70, values: numbers, ...y }];
}

function show(plots, box, options, data, description) {
  plots.get(box)?.destroy();
  box.replaceChildren();
  const plot = new uPlot({ width: box.clientWidth, height: HEIGHT, ...options }, data, box);
  plot.root.querySelectorAll(".u-legend .hidden").forEach((row) => row.remove());
  plot.root.setAttribute("role", "img");
  plot.root.setAttribute("aria-label", description);
  plots.set(box, plot);
}

const plots = new Map();

export function clear(box, words) {
  plots.get(box)?.destroy();
  plots.delete(box);
  const note = document.createElement("p");
  note.className = "quiet";
  note.textContent = words;
  box.replaceChildren(note);
}

/** Draw *curves* of {label, hue, ink}, whose columns of x, value, low and high are *data*. */
export function drawCurves(box, curves, data, { axis, logX, logY, range, metric }) {
  const series = [{ label: axis, value: (u, v) => (v === null ? "–" : readable(v)) }];
  const bands = [];
  curves.forEach(({ label, hue, ink: own, xs }, i) => {
    const ink = own ?? colour(hue);
    const plain = { stroke: "transparent", points: { show: false }, spanGaps: false, class: "hidden" };
    series.push({ label, stroke: ink, width: 1.75, dash: own ? undefined : DASHES[Math.floor(hue / 8) % 3], points: { show: xs.length < 30 }, spanGaps: false, value: (u, v) => measured(metric, v) }, { ...plain, label: "low" }, { ...plain, label: "high" });
    bands.push({ series: [3 * i + 3, 3 * i + 2], fill: `${ink}2e` });
  });
  const scales = { x: { time: false, distr: logX ? 3 : 1 }, y: { distr: logY ? 3 : 1, ...(range ? { range: logY && range[0] <= 0 ? undefined : range } : {}) } };
  const whole = axis === "updates" && !logX ? { incrs: WHOLE } : {};
  const last = (values) => values.findLast((v) => v !== null && v !== undefined);
  const described = curves.map(({ label, values }) => `${label}: ${measured(metric, last(values))}`).join("; ");
  show(plots, box, { series, bands, scales, axes: axes({ ...whole, label: axis }, { ...incrementsOf(metric), label: metric, values: marksOf(metric) }), legend: { live: curves.length <= 20 } }, data, `${metric} along ${axis}. At the end ${described}`);
}

/** Draw *points* of {x, y, hue, label, ink}; *axes* have {text, texts, isWide, isLong}; *named* means that a legend explains the hues. */
export function drawPoints(box, points, { x, y, axes: { x: across, y: up }, named }) {
  const hues = [...new Set(points.map((p) => p.hue))].sort((a, b) => a - b);
  const sorted = [...points].sort((a, b) => a.x - b.x);
  const data = [sorted.map((p) => p.x), ...hues.map((hue) => sorted.map((p) => (p.hue === hue ? p.y : null)))];
  const first = new Map([...points].reverse().map((p) => [p.hue, p]));
  const series = [{ label: x, value: (u, v) => told(across, v) }, ...hues.map((hue) => {
    const ink = first.get(hue).ink ?? colour(hue);
    return { label: first.get(hue).label, stroke: ink, paths: () => null, points: { show: true, size: 9, fill: ink }, value: (u, v) => told(up, v) };
  })];
  const scales = { x: { time: false, ...scaleOf(across) }, y: scaleOf(up) };
  const described = `${y} against ${x}, ${points.length} run${points.length === 1 ? "" : "s"}`;
  show(plots, box, { series, scales, axes: axes({ ...ticksOf(across, 110), label: x }, { ...ticksOf(up, 40), label: y, size: up.texts || up.isLong ? 150 : 70 }), legend: { live: false, show: named } }, data, described);
}

const told = (axis, value) => (value === null || value === undefined ? "–" : axis.text(value));

/** Texts are half a place from the edges; numbers over decades have a logarithmic scale. */
function scaleOf({ texts, isWide }) {
  if (texts) return { range: [-0.5, texts.length - 0.5] };
  return isWide ? { distr: 3 } : {};
}

function ticksOf({ texts, text, name, isLong, isWhole }, space) {
  if (!texts) return { values: isLong ? (u, ticks) => marks(ticks, text) : marksOf(name), ...(isLong ? { space } : {}), ...(isWhole ? { incrs: WHOLE } : {}), ...(isLong ? {} : incrementsOf(name)) };
  const most = Math.ceil(texts.length / MOST_TEXTS);
  return { splits: texts.map((_, i) => i), values: () => texts.map((t, i) => (i % most ? "" : shortened(t))) };
}

const shortened = (text) => (text.length > MOST_LETTERS ? `${text.slice(0, MOST_LETTERS - 1)}…` : text);

export function resize() {
  for (const [box, plot] of plots) if (box.clientWidth && plot.width !== box.clientWidth) plot.setSize({ width: box.clientWidth, height: HEIGHT });
}
