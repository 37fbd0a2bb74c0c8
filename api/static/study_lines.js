// Charts of a study: means with their spread, one chart per panel on a common axis; and learning curves.
import { aligned, colour, cssColour, incrementsOf, marksOf, measured, WHOLE } from "./charts.js";
import { ends } from "./study_spread.js";
import { make, mean } from "./study_table.js";

const plots = new Map();

function chartOptions(box, series, bands, x, values, metric, y = {}) {
  const axis = { stroke: cssColour("--quiet"), grid: { stroke: cssColour("--line"), width: 1 }, ticks: { stroke: cssColour("--line"), width: 1 } };
  const named = { labelSize: 18, labelFont: "12px system-ui, sans-serif" };
  return {
    width: box.clientWidth, height: 280, series, bands, scales: { x: { time: false, ...x }, y },
    axes: [{ ...axis, ...named, size: 36, ...values }, { ...axis, ...named, ...incrementsOf(metric), label: metric, size: 64, values: marksOf(metric) }],
    hooks: { init: [(u) => u.root.querySelectorAll(".u-legend .hidden").forEach((row) => row.remove())] },
  };
}

function banded(list) {
  const series = [{ label: "at" }];
  const bands = [];
  list.forEach(({ label, hue, points, value, spanGaps = true }, i) => {
    const ink = colour(hue);
    series.push(
      { label, stroke: ink, width: 2, points: { show: points, size: 7 }, spanGaps, value: (u, v, at, i) => value(i) },
      { stroke: "transparent", points: { show: false }, spanGaps, class: "hidden", label: "low" },
      { stroke: "transparent", points: { show: false }, spanGaps, class: "hidden", label: "high" },
    );
    bands.push({ series: [3 * i + 3, 3 * i + 2], fill: `${ink}33` });
  });
  return { series, bands };
}

function show(box, options, data, description) {
  clear(box);
  const plot = new uPlot(options, data, box);
  plot.root.setAttribute("role", "img");
  plot.root.setAttribute("aria-label", description);
  plots.set(box, plot);
}

/** Empty *box*, including its chart. */
export function clear(box) {
  plots.get(box)?.destroy();
  plots.delete(box);
  box.replaceChildren();
}

/** Draw one chart for each of *views* into *parent*, all on the axis *range*. */
export function drawMeans(parent, views, { metric, spread, range }) {
  for (const box of parent.querySelectorAll(".chart")) clear(box);
  const boxes = views.map(() => make("div", "", "chart"));
  parent.replaceChildren(...views.map((view, i) => panel(view, boxes[i])));
  views.forEach((view, i) => means(boxes[i], view, metric, spread, range)); // in the page by now: a chart needs its width
}

/** Put *content* under the title of its panel. */
function panel(view, content) {
  const box = make("div", "", "panel");
  if (view.panel) box.append(make("h4", view.panel));
  box.append(content);
  return box;
}

function means(box, view, metric, spread, range) {
  const across = view.columns;
  const data = [across.map((_, i) => i)];
  const named = view.lines.map((line) => {
    const found = across.map((column) => view.cell(line, column));
    const around = found.map((row) => ends(row, spread));
    const end = (side) => found.map((row, i) => around[i]?.[side] ?? row?.mean ?? null);
    data.push(found.map((f) => f?.mean ?? null), end(0), end(1));
    return { label: line || "all seeds", hue: view.hue(line), points: true, value: (i) => (found[i] ? mean(found[i]) : "–") };
  });
  const { series, bands } = banded(named);
  series[0] = { label: view.across?.name || "at", value: (u, i) => across[i] || "–" };
  const axis = { splits: () => data[0], values: () => across, label: view.across?.name };
  const options = chartOptions(box, series, bands, { range: [-0.3, across.length - 0.7] }, axis, metric, range ? { range } : {});
  const words = view.panel ? ` where ${view.panel}` : "";
  show(box, options, data, `${metric} by ${view.across?.name || "nothing"}${words}, one line for each ${view.down?.name || "study"}; the table below has the numbers`);
}

/** Draw learning curves, each with its label, hue, and the columns of a mean with a band. */
export function drawCurves(box, curves, metric, description) {
  const data = aligned(curves);
  const { series, bands } = banded(curves.map((curve, i) => ({
    label: curve.label, hue: curve.hue, points: curve.steps.length < 40, spanGaps: false, value: (at) => between(metric, data, 3 * i + 1, at),
  })));
  series[0] = { label: curves.some((curve) => curve.bucketed) ? "from update" : "update" };
  show(box, chartOptions(box, series, bands, {}, { incrs: WHOLE, label: "update" }, metric), data, description);
}

/** Write the mean at the pointer, followed by the smallest and largest value. */
function between(metric, data, column, at) {
  const [value, low, high] = [data[column][at], data[column + 1][at], data[column + 2][at]];
  if (value === undefined) return "–";
  if (value === null) return "a seed is NaN or infinite";
  const told = (number) => measured(metric, number);
  return low === high ? told(value) : `${told(value)} (${told(low)} to ${told(high)})`;
}
