// The charts of a comparison: curves with their bands, and points of two columns.
import { colour, cssColour, readable, WHOLE } from "./charts.js";

const HEIGHT = 380;
const DASHES = [undefined, [8, 5], [2, 4]]; // there are eight colours

function axes(x, y) {
  const line = { stroke: cssColour("--quiet"), grid: { stroke: cssColour("--line"), width: 1 }, ticks: { stroke: cssColour("--line"), width: 1 } };
  const numbers = (u, ticks) => ticks.map((t) => (t === null ? "" : readable(t)));
  return [{ ...line, values: numbers, ...x }, { ...line, size: 70, values: numbers, ...y }];
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

/** Draw *curves* of {label, hue}, whose columns of x, value, low and high are *data*. */
export function drawCurves(box, curves, data, { axis, logX, logY, range, metric }) {
  const series = [{ label: axis, value: (u, v) => (v === null ? "–" : readable(v)) }];
  const bands = [];
  curves.forEach(({ label, hue, xs }, i) => {
    const ink = colour(hue);
    const plain = { stroke: "transparent", points: { show: false }, spanGaps: false, class: "hidden" };
    series.push({ label, stroke: ink, width: 1.75, dash: DASHES[Math.floor(hue / 8) % 3], points: { show: xs.length < 30 }, spanGaps: false, value: (u, v) => readable(v) }, { ...plain, label: "low" }, { ...plain, label: "high" });
    bands.push({ series: [3 * i + 3, 3 * i + 2], fill: `${ink}2e` });
  });
  const scales = { x: { time: false, distr: logX ? 3 : 1 }, y: { distr: logY ? 3 : 1, ...(range ? { range: logY && range[0] <= 0 ? undefined : range } : {}) } };
  const whole = axis === "updates" && !logX ? { incrs: WHOLE } : {};
  const last = (values) => values.findLast((v) => v !== null && v !== undefined);
  const described = curves.map(({ label, values }) => `${label}: ${readable(last(values))}`).join("; ");
  show(plots, box, { series, bands, scales, axes: axes(whole, {}), legend: { live: curves.length <= 20 } }, data, `${metric} along ${axis}. At the end ${described}`);
}

/** Draw *points* of {x, y, hue, label}; text stands on its axis in the order of its labels. */
export function drawPoints(box, points, { x, y, labels }) {
  const hues = [...new Set(points.map((p) => p.hue))];
  const sorted = [...points].sort((a, b) => a.x - b.x);
  const data = [sorted.map((p) => p.x), ...hues.map((hue) => sorted.map((p) => (p.hue === hue ? p.y : null)))];
  const named = new Map(points.map((p) => [p.hue, p.label]));
  const series = [{ label: x, value: (u, v) => labelled(labels.x, v) }, ...hues.map((hue) => ({
    label: named.get(hue), stroke: colour(hue), paths: () => null, points: { show: true, size: 9, fill: colour(hue) }, value: (u, v) => labelled(labels.y, v),
  }))];
  const place = (known) => (known ? { splits: known.map((_, i) => i), values: () => known } : {});
  const padded = (known) => (known ? { range: [-0.5, known.length - 0.5] } : {});
  show(plots, box, { series, scales: { x: { time: false, ...padded(labels.x) }, y: padded(labels.y) }, axes: axes(place(labels.x && labels.x), place(labels.y)), legend: { live: false } }, data, `${y} against ${x}, ${points.length} runs`);
}

const labelled = (known, value) => (value === null || value === undefined ? "–" : known ? known[value] : readable(value));

export function resize() {
  for (const [box, plot] of plots) if (box.clientWidth && plot.width !== box.clientWidth) plot.setSize({ width: box.clientWidth, height: HEIGHT });
}
