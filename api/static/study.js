// The page of one study: heat map of two factors, lines with bands over seeds, learning curves, table, exports.
import { ask, at, computed, fail, follow, onReturn, throttled } from "./app.js";
import { aligned, colour, cssColour, readable, WHOLE } from "./charts.js";
import { gather } from "./study_curves.js";
import { factorsOf, firstView, View } from "./study_factors.js";
import { fill, make, mean, without } from "./study_table.js";

const article = document.getElementById("study");
const id = article.dataset.study;
const axes = JSON.parse(article.dataset.axes);
const form = document.getElementById("question");
const rows = document.getElementById("rows");
const columns = document.getElementById("columns");
const fixed = document.getElementById("fixed");
const slice = document.getElementById("slice");
const MOST_VALUES = 30;
const chosen = new Map();
let table = null;
let factors = [];
let view = null;
let plots = {};

const query = (extra = {}) => new URLSearchParams({
  metric: form.metric.value.trim() || form.metric.defaultValue, reduction: form.reduction.value, interval: form.interval.value, ...extra,
});

function wrong(message) {
  const line = document.getElementById("question-wrong");
  line.textContent = message;
  line.hidden = !message;
  form.metric.toggleAttribute("aria-invalid", Boolean(message));
}

async function load() {
  let found;
  try {
    found = await computed(() => ask(`/v1/studies/${id}/results?${query()}`)); // all paths: each row is a mean over seeds only
    wrong("");
  } catch (error) {
    if (!error.problem) throw error;
    return wrong(error.message);
  }
  table = found;
  factors = factorsOf(table, axes);
  offer();
  for (const link of document.querySelectorAll("#exports a")) {
    link.href = at(`/v1/studies/${id}/results?${query({ format: link.dataset.format })}`);
  }
  const some = table.rows.some((row) => row.n > 0);
  const empty = document.getElementById("no-results");
  empty.hidden = some;
  empty.textContent = "No cell has reported this metric yet. Results appear here as jobs end.";
  document.getElementById("results").hidden = !some;
  if (some) draw();
}

/** Fill the menus of factors for rows and columns, initially and when a study has a new factor. */
function offer() {
  const names = factors.map((factor) => factor.name);
  if ([...rows.options].map((o) => o.value).join("\n") === names.join("\n")) return;
  const { down, across } = firstView(factors);
  rows.replaceChildren(...names.map((name) => new Option(name)));
  columns.replaceChildren(...names.map((name) => new Option(name)), new Option("none", ""));
  rows.value = down?.name ?? "";
  columns.value = across?.name ?? "";
}

/** Fill the menus for the factors that are not shown: one value of each is selected, and none is averaged over. */
function offerFixed() {
  fixed.replaceChildren(...view.fixed.filter((f) => f.values.length > 1).map((factor, i) => {
    const box = document.createElement("div");
    const label = document.createElement("label");
    const select = document.createElement("select");
    label.textContent = `Where ${factor.name} is`;
    label.htmlFor = select.id = `fixed-${i}`;
    select.append(...factor.values.map((value) => new Option(value)));
    select.value = view.chosen.get(factor.name);
    select.addEventListener("change", () => { chosen.set(factor.name, select.value); draw(); document.getElementById(select.id)?.focus(); });
    box.append(label, select);
    return box;
  }));
}

function draw() {
  const named = (name) => factors.find((factor) => factor.name === name) || null;
  const down = named(rows.value);
  view = new View(table, factors, down, columns.value === rows.value ? null : named(columns.value), chosen);
  offerFixed();
  // A search tries a new value in every trial: such an axis is only for the table.
  const drawable = view.columns.length <= MOST_VALUES && view.lines.length <= MOST_VALUES;
  for (const box of document.querySelectorAll("#results figure")) box.hidden = !drawable;
  document.getElementById("learning").hidden = !drawable;
  fixed.hidden = !drawable;
  fill(table);
  if (!drawable) return;
  heat();
  lines();
  const before = slice.value;
  slice.replaceChildren(...view.columns.map((name) => new Option(name || "all seeds", name)));
  if (view.columns.includes(before)) slice.value = before;
  document.getElementById("slice-label").textContent = view.across?.name || "For";
  curves().catch((error) => fail(error.message));
}

// One hue from light to dark: readable in grey and by colour-blind people.
const SCALE = [[247, 251, 255], [198, 219, 239], [107, 174, 214], [33, 113, 181], [8, 48, 107]];

function shade(share) {
  const place = Math.max(0, Math.min(1, share)) * (SCALE.length - 1);
  const i = Math.min(SCALE.length - 2, Math.floor(place));
  const mixed = SCALE[i].map((from, k) => Math.round(from + (SCALE[i + 1][k] - from) * (place - i)));
  const bright = mixed[0] * 0.299 + mixed[1] * 0.587 + mixed[2] * 0.114 > 140;
  return { background: `rgb(${mixed})`, ink: bright ? "#10151c" : "#ffffff" };
}

function heat() {
  const means = view.rows.filter((row) => row.mean !== null).sort((a, b) => a.mean - b.mean);
  const [least, most] = [means[0], means[means.length - 1]];
  const grid = make("table", "", "heat");
  const where = view.words ? ` where ${view.words}` : "";
  grid.append(make("caption", `${table.metric}, ${table.reduction}${where}: mean over seeds, half width of the interval below`));
  const head = make("tr");
  const corner = [view.down?.name, view.across?.name].filter(Boolean).join(" \\ ");
  head.append(make("td", corner), ...view.columns.map((name) => { const th = make("th", name || "mean"); th.scope = "col"; return th; }));
  const thead = make("thead");
  thead.append(head);
  const body = make("tbody");
  for (const line of view.lines) {
    const tr = make("tr");
    const th = make("th", line || "all seeds");
    th.scope = "row";
    tr.append(th, ...view.columns.map((column) => heatCell(view.cell(line, column), least?.mean, most?.mean)));
    body.append(tr);
  }
  grid.append(thead, body);
  document.getElementById("heat").replaceChildren(grid);
  document.getElementById("heat-legend").textContent = means.length ? `Darker cells have larger values: from ${least.mean_text} to ${most.mean_text}.` : "No cell here has a value yet.";
}

function heatCell(row, least, most) {
  if (!row) return make("td", "–");
  const td = make("td", row.mean_text || "–");
  if (row.mean !== null) {
    const { background, ink } = shade(most > least ? (row.mean - least) / (most - least) : 0.5);
    td.style.background = background;
    td.style.color = ink;
    td.append(make("span", row.half_text ? `± ${row.half_text}, n = ${row.n}` : `n = ${row.n}`, "spread"));
  }
  if (without(row)) td.append(make("span", without(row), "spread"));
  return td;
}

function chartOptions(box, series, bands, x, values) {
  const axis = { stroke: cssColour("--quiet"), grid: { stroke: cssColour("--line"), width: 1 }, ticks: { stroke: cssColour("--line"), width: 1 } };
  return {
    width: box.clientWidth, height: 280, series, bands, scales: { x: { time: false, ...x } },
    axes: [{ ...axis, ...values }, { ...axis, size: 64, values: (u, ticks) => ticks.map(readable) }],
    hooks: { init: [(u) => u.root.querySelectorAll(".u-legend .hidden").forEach((row) => row.remove())] },
  };
}

function banded(list) {
  const series = [{ label: "at" }];
  const bands = [];
  list.forEach(({ label, points, value, spanGaps = true }, i) => {
    series.push(
      { label, stroke: colour(i), width: 2, points: { show: points, size: 7 }, spanGaps, value: (u, v, at, i) => value(i) },
      { stroke: "transparent", points: { show: false }, spanGaps, class: "hidden", label: "low" },
      { stroke: "transparent", points: { show: false }, spanGaps, class: "hidden", label: "high" },
    );
    bands.push({ series: [3 * i + 3, 3 * i + 2], fill: `${colour(i)}33` });
  });
  return { series, bands };
}

function show(name, box, options, data, description) {
  plots[name]?.destroy();
  box.replaceChildren();
  plots[name] = new uPlot(options, data, box);
  plots[name].root.setAttribute("role", "img");
  plots[name].root.setAttribute("aria-label", description);
}

function lines() {
  const box = document.getElementById("lines");
  const across = view.columns;
  const data = [across.map((_, i) => i)];
  const named = view.lines.map((line) => {
    const found = across.map((column) => view.cell(line, column));
    data.push(found.map((f) => f?.mean ?? null), found.map((f) => f?.low ?? f?.mean ?? null), found.map((f) => f?.high ?? f?.mean ?? null));
    return { label: line || "all seeds", points: true, value: (i) => (found[i] ? mean(found[i]) : "–") };
  });
  const { series, bands } = banded(named);
  series[0] = { label: view.across?.name || "at", value: (u, i) => across[i] || "–" };
  const options = chartOptions(box, series, bands, { range: [-0.3, across.length - 0.7] }, {
    splits: () => data[0], values: () => across,
  });
  show("lines", box, options, data, `${table.metric} by ${view.across?.name || "nothing"}, one line for each ${view.down?.name || "study"}; the table below has the numbers`);
}

async function curves() {
  const box = document.getElementById("curves");
  const found = view.lines.map((line) => ({ label: line || "all seeds", row: view.cell(line, slice.value) })).filter(({ row }) => row);
  const { curves: some, left } = await gather(table.metric, found);
  document.getElementById("learning-left").textContent = left ? `The first ${found.length - left} of ${found.length} rows are drawn.` : "";
  if (!some.length) {
    plots.curves?.destroy();
    delete plots.curves;
    box.replaceChildren(make("p", nothing(found.map(({ row }) => row)), "quiet"));
    return;
  }
  const data = aligned(some);
  const { series, bands } = banded(some.map((curve, i) => ({
    label: curve.label, points: curve.steps.length < 40, spanGaps: false, value: (at) => between(data, 3 * i + 1, at),
  })));
  series[0] = { label: some.some((curve) => curve.bucketed) ? "from update" : "update" };
  show("curves", box, chartOptions(box, series, bands, {}, { incrs: WHOLE }), data, `${table.metric} over updates for ${slice.value || "all seeds"}, one line for each ${view.down?.name || "study"}`);
}

/** Write the mean at the pointer, and the smallest and largest value behind it. */
function between(data, column, at) {
  const [value, low, high] = [data[column][at], data[column + 1][at], data[column + 2][at]];
  if (value === null || value === undefined) return "–";
  return low === high ? readable(value) : `${readable(value)} (${readable(low)} to ${readable(high)})`;
}

/** Explain why there is no curve, from the states of the jobs that would have one. */
function nothing(list) {
  const states = {};
  for (const state of list.flatMap((row) => Object.values(row.states))) states[state] = (states[state] || 0) + 1;
  const said = Object.entries(states).map(([state, count]) => `${count} ${state}`).join(", ");
  return `No job that is running or has succeeded has reported ${table.metric} yet${said ? `: ${said}` : ""}.`;
}

const reload = throttled(load, 2000);
form.addEventListener("submit", (event) => event.preventDefault());
for (const field of [form.metric, form.reduction, form.interval]) field.addEventListener("change", reload);
for (const select of [rows, columns]) select.addEventListener("change", () => table && !document.getElementById("results").hidden && draw());
slice.addEventListener("change", () => curves().catch((error) => fail(error.message)));
document.addEventListener("themechange", () => table && draw());
addEventListener("resize", throttled(() => table && !document.getElementById("results").hidden && draw(), 300));

const progress = throttled(async () => {
  const study = await ask(`/v1/studies/${id}?cells=100`);
  const done = study.counts.succeeded || 0;
  const others = ["running", "queued", "planned", "failed", "cancelled", "pruned", "missing"].filter((n) => study.counts[n]).map((n) => `, ${study.counts[n]} ${n}`).join("");
  document.getElementById("counts").textContent = `${study.state}: ${done} of ${study.cells} cells done${others}${study.reused ? `; ${study.reused} reused from other jobs` : ""}.`;
  document.getElementById("progress").value = done + (study.counts.pruned || 0);
  const job = study.grid.find((c) => c.job && c.state !== "queued")?.job;
  const list = document.getElementById("metrics");
  if (job && !list.children.length) list.append(...Object.keys(await ask(`/v1/jobs/${job}/metrics:names`)).map((n) => new Option(n)));
}, 2000);

progress();
reload();
const renew = () => { progress(); reload(); };
follow("/v1/events", renew, document.getElementById("study").dataset.after);
onReturn(renew);
