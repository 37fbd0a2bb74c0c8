// One study: heat map of two axes, lines with bands over seeds, learning curves, table, exports.
import { ask, fail, follow, onReturn, throttled } from "./app.js";
import { aligned, colour, cssColour, readable } from "./charts.js";

const article = document.getElementById("study");
const id = article.dataset.study;
const paths = JSON.parse(article.dataset.paths);
const form = document.getElementById("question");
const rows = document.getElementById("rows");
const columns = document.getElementById("columns");
const slice = document.getElementById("slice");
const ALL = "(all)";
const MOST_VALUES = 30;
let table = null;
let plots = {};

for (const path of paths) { rows.add(new Option(path)); columns.add(new Option(path)); }
columns.add(new Option("none", ""));
rows.value = paths[0] || "";
columns.value = paths[1] || "";

const query = (extra = {}) => new URLSearchParams({
  metric: form.metric.value.trim() || "val/accuracy", reduction: form.reduction.value, interval: form.interval.value, ...extra,
});

function wrong(message) {
  const line = document.getElementById("question-wrong");
  line.textContent = message;
  line.hidden = !message;
  form.metric.toggleAttribute("aria-invalid", Boolean(message));
}

async function load() {
  const asked = query();
  for (const path of [rows.value, columns.value]) if (path) asked.append("group_by", path);
  let found;
  try {
    found = await ask(`/v1/studies/${id}/results?${asked}`);
    wrong("");
  } catch (error) {
    if (!error.problem) throw error;
    return wrong(error.message);
  }
  table = found;
  for (const link of document.querySelectorAll("#exports a")) {
    link.href = `/v1/studies/${id}/results?${query({ format: link.dataset.format })}`;
  }
  const some = table.rows.some((row) => row.n > 0);
  const empty = document.getElementById("no-results");
  empty.hidden = some;
  empty.textContent = "No cell has reported this metric yet. Results appear here as jobs end.";
  document.getElementById("results").hidden = !some;
  if (some) draw();
}

const distinct = (list) => [...new Set(list)];
const labelOf = (row, path) => (path ? row.labels[path] : ALL);
const names = (path) => distinct(table.rows.map((row) => labelOf(row, path)));
const cell = (r, c) => table.rows.find((row) => labelOf(row, rows.value) === r && labelOf(row, columns.value) === c);

function draw() {
  const across = names(columns.value);
  const down = names(rows.value);
  // A search tries a value a trial: such an axis is for the table.
  const drawable = across.length <= MOST_VALUES && down.length <= MOST_VALUES;
  for (const box of document.querySelectorAll("#results figure")) box.hidden = !drawable;
  document.getElementById("learning").hidden = !drawable;
  full();
  if (!drawable) return;
  heat(down, across);
  lines(down, across);
  const chosen = slice.value;
  slice.replaceChildren(...across.map((name) => new Option(name)));
  if (across.includes(chosen)) slice.value = chosen;
  document.getElementById("slice-label").textContent = columns.value || "For";
  curves().catch((error) => fail(error.message));
}

// From light to dark, one hue: read in grey and by colour-blind people alike.
const SCALE = [[247, 251, 255], [198, 219, 239], [107, 174, 214], [33, 113, 181], [8, 48, 107]];

function shade(share) {
  const place = Math.max(0, Math.min(1, share)) * (SCALE.length - 1);
  const i = Math.min(SCALE.length - 2, Math.floor(place));
  const mixed = SCALE[i].map((from, k) => Math.round(from + (SCALE[i + 1][k] - from) * (place - i)));
  const bright = mixed[0] * 0.299 + mixed[1] * 0.587 + mixed[2] * 0.114 > 140;
  return { background: `rgb(${mixed})`, ink: bright ? "#10151c" : "#ffffff" };
}

function make(name, text = "", kind = "") {
  const element = document.createElement(name);
  element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

function heat(down, across) {
  const means = table.rows.map((row) => row.mean).filter((mean) => mean !== null);
  const [least, most] = [Math.min(...means), Math.max(...means)];
  const grid = make("table", "", "heat");
  grid.append(make("caption", `${table.metric}, ${table.reduction}: mean over seeds, half width of the interval below`));
  const head = make("tr");
  head.append(make("td"), ...across.map((name) => { const th = make("th", name); th.scope = "col"; return th; }));
  const thead = make("thead");
  thead.append(head);
  const body = make("tbody");
  for (const r of down) {
    const tr = make("tr");
    const th = make("th", r);
    th.scope = "row";
    tr.append(th, ...across.map((c) => heatCell(cell(r, c), least, most)));
    body.append(tr);
  }
  grid.append(thead, body);
  document.getElementById("heat").replaceChildren(grid);
  document.getElementById("heat-legend").textContent = `Dark is large: from ${readable(least)} to ${readable(most)}.`;
}

function heatCell(row, least, most) {
  const td = make("td", row && row.mean !== null ? readable(row.mean) : "–");
  if (!row) return td;
  if (row.mean !== null) {
    const { background, ink } = shade(most > least ? (row.mean - least) / (most - least) : 0.5);
    td.style.background = background;
    td.style.color = ink;
    if (row.low !== null) td.append(make("span", `± ${readable((row.high - row.low) / 2)}`, "spread"));
  }
  if (row.failed) td.append(make("span", `${row.failed} without a value`, "spread"));
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
  list.forEach(({ label, points }, i) => {
    series.push(
      { label, stroke: colour(i), width: 2, points: { show: points, size: 7 }, spanGaps: true, value: (u, v) => readable(v) },
      { stroke: "transparent", points: { show: false }, spanGaps: true, class: "hidden", label: "low" },
      { stroke: "transparent", points: { show: false }, spanGaps: true, class: "hidden", label: "high" },
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

function lines(down, across) {
  const box = document.getElementById("lines");
  const data = [across.map((_, i) => i)];
  for (const r of down) {
    const found = across.map((c) => cell(r, c));
    data.push(found.map((f) => f?.mean ?? null), found.map((f) => f?.low ?? f?.mean ?? null), found.map((f) => f?.high ?? f?.mean ?? null));
  }
  const { series, bands } = banded(down.map((label) => ({ label, points: true })));
  series[0] = { label: columns.value || "all", value: (u, i) => across[i] ?? "–" };
  const options = chartOptions(box, series, bands, { range: [-0.3, across.length - 0.7] }, {
    splits: () => data[0], values: () => across,
  });
  show("lines", box, options, data, `${table.metric} by ${columns.value || "nothing"}, one line for each ${rows.value}; the table below has the numbers`);
}

const MOST_JOBS = 100;

async function curves() {
  const box = document.getElementById("curves");
  const groups = names(rows.value).map((r) => ({ label: r, jobs: Object.values(cell(r, slice.value)?.jobs || {}) })).filter((g) => g.jobs.length);
  const jobs = groups.flatMap((g) => g.jobs).slice(0, MOST_JOBS);
  if (!jobs.length) { box.replaceChildren(make("p", "No job of these has started.", "quiet")); return; }
  const asked = new URLSearchParams({ name: table.metric, max_points: Math.min(500, Math.max(50, box.clientWidth || 500)) });
  for (const job of jobs) asked.append("job", job);
  const found = await ask(`/v1/series?${asked}`);
  const byJob = new Map(jobs.map((job, i) => [job, found[i]]));
  const merged = groups.map((g) => overSeeds(g.jobs.map((job) => byJob.get(job)).filter((s) => s?.steps.length)));
  const some = groups.map((g, i) => ({ ...g, ...merged[i] })).filter((g) => g.steps.length);
  if (!some.length) { box.replaceChildren(make("p", "No job of these has reported this metric yet.", "quiet")); return; }
  const { series, bands } = banded(some.map((g) => ({ label: g.label, points: g.steps.length < 40 })));
  series[0] = { label: "update" };
  show("curves", box, chartOptions(box, series, bands, {}, {}), aligned(some), `${table.metric} over updates for ${slice.value}, one line for each ${rows.value}`);
}

/** Mean, smallest and largest over seeds, at the steps that the first seed has; others by their last value before. */
export function overSeeds(list) {
  if (!list.length) return { steps: [], values: [], min: [], max: [] };
  const steps = list[0].steps;
  const last = Math.min(...list.map((s) => s.steps[s.steps.length - 1]));
  const kept = steps.filter((step) => step <= last);
  const at = (s, step) => {
    let i = s.steps.findIndex((x) => x > step);
    i = i < 0 ? s.steps.length - 1 : Math.max(0, i - 1);
    return s.values[i];
  };
  const columns = kept.map((step) => list.map((s) => at(s, step)).filter((v) => v !== null));
  return {
    steps: kept,
    values: columns.map((c) => (c.length ? c.reduce((a, b) => a + b, 0) / c.length : null)),
    min: columns.map((c) => (c.length ? Math.min(...c) : null)),
    max: columns.map((c) => (c.length ? Math.max(...c) : null)),
  };
}

function full() {
  const head = make("tr");
  const shown = table.group_by;
  for (const name of [...shown, "mean", "low", "high", "sd", "n", "without a value", "jobs by seed"]) {
    const th = make("th", name, shown.includes(name) || name.startsWith("jobs") ? "" : "number");
    th.scope = "col";
    head.append(th);
  }
  const body = make("tbody");
  for (const row of table.rows) {
    const tr = make("tr");
    tr.append(...shown.map((path) => make("td", row.labels[path])));
    for (const name of ["mean", "low", "high", "sd"]) tr.append(make("td", readable(row[name]), "number"));
    tr.append(make("td", row.n, "number"), make("td", row.failed || "", "number"));
    const jobs = make("td");
    for (const [seed, job] of Object.entries(row.jobs)) {
      const link = make("a", `${seed}`);
      link.href = `/jobs/${job}`;
      link.title = row.states[seed] || "";
      link.setAttribute("aria-label", `Job of seed ${seed}: ${row.states[seed] || "not run"}`);
      jobs.append(link, " ");
    }
    tr.append(jobs);
    body.append(tr);
  }
  const thead = make("thead");
  thead.append(head);
  document.getElementById("table").replaceChildren(thead, body);
}

const reload = throttled(load, 2000);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", reload);
slice.addEventListener("change", () => curves().catch((error) => fail(error.message)));
document.addEventListener("themechange", () => table && draw());
addEventListener("resize", throttled(() => table && !document.getElementById("results").hidden && draw(), 300));

const progress = throttled(async () => {
  const study = await ask(`/v1/studies/${id}`);
  const done = study.counts.succeeded || 0;
  const others = ["running", "queued", "failed", "cancelled", "missing"].filter((n) => study.counts[n]).map((n) => `, ${study.counts[n]} ${n}`).join("");
  document.getElementById("counts").textContent = `${study.state}: ${done} of ${study.cells} cells done${others}.`;
  document.getElementById("progress").value = done;
  const job = study.grid.find((c) => c.job && c.state !== "queued")?.job;
  const list = document.getElementById("metrics");
  if (job && !list.children.length) list.append(...Object.keys(await ask(`/v1/jobs/${job}/metrics:names`)).map((n) => new Option(n)));
}, 2000);

progress();
reload();
const renew = () => { progress(); reload(); };
follow("/v1/events", renew);
onReturn(renew);
