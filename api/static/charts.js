// Curves: uPlot with a band from smallest to largest value, zoom that reloads data, and compared jobs.
import { ask, computed } from "./app.js";
import { drawable, nameAt } from "./not_finite.js";
import { incrementsOf, marksOf, measured } from "./numbers.js";

export { incrementsOf, marks, marksOf, measured, readable } from "./numbers.js";

// Okabe and Ito's palette, which colour-blind people can distinguish; the first colour is the job itself.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#a0752d", "#7a6ad8"];
const DARK = ["#5fb3ee", "#ff8c42", "#35c79a", "#e79fca", "#f3bb3d", "#8fd0f5", "#cda15c", "#aaa0f0"];
const MOST_POINTS = 1000;
/** Distances between the marks of an axis of updates, which are whole numbers. */
export const WHOLE = [...Array(10).keys()].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));

export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

export function colour(i) {
  const palette = isDark() ? DARK : COLOURS;
  return palette[i % palette.length];
}

export function cssColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Align series on one axis of steps: [{steps, values, min, max}] to uPlot's columns. */
export function aligned(series) {
  const steps = [...new Set(series.flatMap((s) => s.steps))].sort((a, b) => a - b);
  const place = new Map(steps.map((step, i) => [step, i]));
  const columns = [steps];
  for (const s of series) {
    // undefined: the series has no point at that step, so the line continues; null: not finite, a gap
    const column = (values) => {
      const filled = new Array(steps.length).fill(undefined);
      drawable(values).forEach((value, i) => { filled[place.get(s.steps[i])] = value; });
      return filled;
    };
    columns.push(column(s.values), column(s.min || s.values), column(s.max || s.values));
  }
  return columns;
}

const translucent = (hex) => `${hex}33`;

export class Chart {
  /** One metric of one job and of the jobs compared with it. */
  constructor(parent, metric, jobs) {
    this.metric = metric;
    this.jobs = jobs; // [{id, label}]
    this.range = null;
    this.log = false;
    this.fromZero = false; // a share or an amount is read by its height
    this.card = document.createElement("section");
    this.card.className = "chart-card";
    this.card.dataset.metric = metric;
    this.card.setAttribute("aria-label", `Curve of ${metric}`);
    this.card.innerHTML = `<header><h3></h3><span class="quiet small" data-latest></span></header>
      <div class="chart"><div class="note">Loading…</div></div>`;
    this.card.querySelector("h3").textContent = metric;
    this.box = this.card.querySelector(".chart");
    parent.append(this.card);
    this.resizer = new ResizeObserver(() => this.resized());
    this.resizer.observe(this.box);
    document.addEventListener("themechange", () => this.redraw());
  }

  get pixels() {
    return Math.max(50, Math.min(MOST_POINTS, Math.round(this.box.clientWidth || 600)));
  }

  async load() {
    this.loading?.abort();
    this.loading = new AbortController();
    const query = new URLSearchParams({ name: this.metric, max_points: this.pixels, times: false });
    for (const job of this.jobs) query.append("job", job.id);
    if (this.range) {
      query.set("from_step", Math.max(0, Math.floor(this.range[0])));
      query.set("to_step", Math.max(0, Math.ceil(this.range[1])));
    }
    this.series = await computed(() => ask(`/v1/series?${query}`, { signal: this.loading.signal }));
    this.draw();
  }

  draw() {
    const found = this.series.map((s, i) => ({ ...s, ...this.jobs[i], colour: colour(i) }));
    const some = found.filter((s) => s.steps.length);
    this.card.querySelector("[data-latest]").textContent = found[0].last ? latest(this.metric, found[0]) : "";
    const note = this.box.querySelector(".note");
    if (!some.length) {
      if (note) note.textContent = "No point in this range.";
      return;
    }
    const data = aligned(some);
    const shape = some.map((s) => s.id + s.colour + Boolean(s.min)).join() + this.log;
    if (this.plot && this.shape === shape) {
      this.plot.setData(data, false);
      this.plot.setScale("x", this.span(data[0]));
      this.describe(some);
      return;
    }
    this.plot?.destroy();
    note?.remove();
    this.shape = shape;
    this.plot = new uPlot(this.options(some), data, this.box);
    this.plot.setScale("x", this.span(data[0]));
    this.plot.root.setAttribute("role", "img");
    this.describe(some);
  }

  describe(series) {
    const described = series.map((s) => `${s.label}: ${latest(this.metric, s)}`).join("; ");
    this.plot.root.setAttribute("aria-label", `${this.metric} over updates. ${described}`);
  }

  span(steps) {
    const [min, max] = this.range || [steps[0], steps[steps.length - 1]];
    return { min, max: max > min ? max : min + 1 };
  }

  options(series) {
    const ink = cssColour("--quiet");
    const line = cssColour("--line");
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    const lines = [{ label: series.some((s) => s.min) ? "from update" : "update" }];
    const bands = [];
    series.forEach((s, i) => {
      const at = 1 + 3 * i;
      lines.push(
        { label: s.label, stroke: s.colour, width: 1.75, points: { show: s.steps.length < 30 }, spanGaps: false, value: pointed(this.metric, s) },
        { show: true, stroke: "transparent", width: 0, points: { show: false }, label: "smallest", class: "hidden" },
        { show: true, stroke: "transparent", width: 0, points: { show: false }, label: "largest", class: "hidden" },
      );
      bands.push({ series: [at + 2, at + 1], fill: translucent(s.colour) });
    });
    return {
      width: this.box.clientWidth,
      height: 240,
      scales: { x: { time: false }, y: { distr: this.log ? 3 : 1, ...(this.fromZero ? { range: (u, low, high) => [0, high > 0 ? 1.05 * high : 1] } : {}) } },
      axes: [{ ...axis, incrs: WHOLE }, { ...axis, ...incrementsOf(this.metric), size: 64, values: marksOf(this.metric) }],
      series: lines,
      bands,
      cursor: { drag: { x: true, y: false, setScale: false }, sync: { key: "curves", setSeries: false } },
      legend: { live: true },
      hooks: {
        init: [(u) => { hideBandLegends(u); u.over.addEventListener("dblclick", () => this.onZoom?.(null)); }],
        setSelect: [(u) => this.selected(u)],
      },
    };
  }

  selected(u) {
    if (u.select.width < 5) return;
    const range = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.onZoom?.(range);
  }

  resized() {
    if (!this.plot || !this.box.clientWidth || this.plot.width === this.box.clientWidth) return;
    this.plot.setSize({ width: this.box.clientWidth, height: 240 });
  }

  redraw() {
    this.shape = null;
    if (this.series) this.draw();
  }
}

function hideBandLegends(u) {
  u.root.querySelectorAll(".u-legend .u-series.hidden").forEach((row) => row.remove());
}

/** The stored last value of the metric: a bucket's mean would vary with the chart's width. */
function latest(metric, { last }) {
  return `${nameAt(last, "/value") ?? measured(metric, last.value)} at update ${last.step}`;
}

/** The value for the legend; for a bucket of several updates, its mean and its range. */
function pointed(metric, series) {
  return (u, v, at, i) => {
    if (i === null || i === undefined || v === undefined) return "–";
    if (v === null) return nameAt(series, `/values/${series.steps.indexOf(u.data[0][i])}`) ?? "–";
    const [low, high] = [u.data[at + 1][i], u.data[at + 2][i]];
    const place = series.steps.indexOf(u.data[0][i]);
    const [mean, least, most] = [[v, "values"], [low, "min"], [high, "max"]].map(([value, of]) => nameAt(series, `/${of}/${place}`) ?? measured(metric, value));
    return series.min ? `mean ${mean} of ${least} to ${most}` : mean;
  };
}
