// Charts inside a network: stacked areas of one layer, bands, and curves, all by uPlot.
import { aligned, colour, cssColour, marks, readable, WHOLE } from "./charts.js";
import { drawable } from "./not_finite.js";

const HEIGHT = 220;

/** A chart in *parent* under *title*; *now* is marked if the axis is time. */
class Drawn {
  constructor(parent, title, options, data) {
    const heading = document.createElement("h3");
    heading.textContent = title;
    this.box = document.createElement("div");
    parent.append(heading, this.box);
    const ink = cssColour("--quiet");
    const line = cssColour("--line");
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    this.plot = new uPlot({
      width: Math.max(this.box.clientWidth, 120),
      height: HEIGHT,
      scales: { x: { time: false } },
      axes: [{ ...axis, label: options.label, labelSize: 18, size: 34, ...(options.label === "epoch" && data[0].at(-1) - data[0][0] >= 2 ? { incrs: WHOLE } : {}) }, { ...axis, size: 60, values: (u, ticks) => marks(ticks) }],
      cursor: { drag: { x: false, y: false } },
      hooks: { draw: [(u) => this.mark(u)] },
      ...options.plot,
    }, data, this.box);
    this.fit = options.fit ?? ((low, high) => uPlot.rangeNum(low, high, 0.1, true));
    this.title = title;
    this.plot.root.setAttribute("role", "img");
    this.plot.root.setAttribute("aria-label", title);
    this.resizer = new ResizeObserver(() => this.resized());
    this.resizer.observe(this.box);
  }

  resized() {
    const width = this.box.clientWidth;
    if (width && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }

  /** Mark the moment *now*. */
  at(now) {
    this.now = now;
    this.plot.redraw(false);
  }

  mark(u) {
    if (this.now === undefined) return;
    const x = u.valToPos(this.now, "x", true);
    if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) return;
    u.ctx.fillStyle = cssColour("--ink");
    u.ctx.fillRect(x - 1, u.bbox.top, 2, u.bbox.height);
  }

  remove() {
    this.resizer.disconnect();
    this.plot.destroy();
    this.box.previousSibling?.remove();
    this.box.remove();
  }
}

/** Give *charts* of two runs one range of values, so that equal heights are equal values. */
export function level(charts) {
  const values = charts.flatMap(({ plot }) => plot.data.slice(1).flat()).filter(Number.isFinite);
  if (charts.length < 2 || !values.length) return;
  const ends = [Math.min, Math.max].map((end) => values.reduce((a, b) => end(a, b)));
  const [min, max] = charts[0].fit(...ends);
  charts.forEach(({ plot, title }) => {
    plot.setScale("y", { min, max });
    plot.root.setAttribute("aria-label", `${title}, from ${readable(min)} to ${readable(max)}`);
  });
}

const plain = (label, values, i, more = {}) => ({
  label, stroke: colour(i), width: 1.5, points: { show: values.length < 30 }, value: (u, v) => readable(v), ...more,
});

/** Terms that add up, one above the other: [{title, values}] at *times*, in epochs. */
export function stacked(parent, title, times, terms) {
  const sums = [];
  terms.forEach(({ values }, k) => sums.push(values.map((value, i) => (Number.isFinite(value) ? value : 0) + (k ? sums[k - 1][i] : 0))));
  const series = terms.map(({ title: label, values }, k) => ({
    label, stroke: colour(k), fill: colour(k), width: 1, points: { show: false },
    value: (u, _, __, i) => readable(i === null || i === undefined ? null : values[i]),
  }));
  // the highest first, so that the lower ones are drawn over it
  const fit = (low, high) => [0, high || 1];
  const plot = { series: [{ label: "epoch" }, ...series.reverse()], scales: { x: { time: false }, y: { range: (u, low, high) => fit(low, high) } } };
  return new Drawn(parent, title, { label: "epoch", plot, fit }, [times, ...sums.reverse()]);
}

/** The range from *low* to *high* at *times*, in epochs. */
export function band(parent, title, times, low, high) {
  const plot = {
    series: [{ label: "epoch" }, plain("smallest", low, 0), plain("largest", high, 0)],
    bands: [{ series: [2, 1], fill: `${colour(0)}55` }],
  };
  return new Drawn(parent, title, { label: "epoch", plot }, [times, drawable(low), drawable(high)]);
}

/** Lines over a common axis: [{label, x, y}], with points if *dots* is set. */
export function curves(parent, title, label, lines, dots = false) {
  const data = aligned(lines.map(({ x, y }) => ({ steps: x, values: y }))).filter((_, i) => i === 0 || i % 3 === 1);
  const series = lines.map((line, i) => plain(line.label, line.y, i, { points: { show: dots || line.y.length < 30 }, spanGaps: true }));
  return new Drawn(parent, title, { label, plot: { series: [{ label }, ...series] } }, data);
}
