// The search of a study: its history, the best trial, which parameters matter, and all trials at once.
import { ask, at, computed, follow, throttled } from "./app.js";
import { colour, cssColour, incrementsOf, marksOf, measured, readable } from "./charts.js";
import { counted, nameAt } from "./not_finite.js";
import { drawParallel } from "./parallel.js";
import { make } from "./study_table.js";

const element = (name) => document.getElementById(name);
const id = element("study").dataset.study;
let found = null;
let plot = null;

async function load() {
  found = await computed(() => ask(`/v1/studies/${id}/search`));
  draw();
}

function draw() {
  best();
  importance();
  history();
  const known = found.trials.filter((trial) => trial.value !== null);
  const bad = counted(found.trials.map((trial) => nameAt(trial, "/value")).filter(Boolean));
  if (bad) element("best-trial").append(`These trials are in no chart, because their metric is not finite: ${bad}.`);
  element("trials-box").hidden = !known.length;
  if (!known.length) return;
  const axes = [...found.paths.map((name) => ({ name, logarithmic: found.logarithmic.includes(name) })), { name: found.metric }];
  const values = (trial) => found.paths.map((path) => (typeof trial.coordinates[path] === "number" ? trial.coordinates[path] : trial.labels[path]));
  drawParallel(element("trials"), axes, known.map((trial) => ({ label: words(trial), values: [...values(trial), trial.value] })));
}

const short = (trial, path) => (typeof trial.coordinates[path] === "number" ? readable(trial.coordinates[path]) : trial.labels[path]);
const place = (trial) => found.paths.map((path) => `${path} = ${short(trial, path)}`).join(", ");
const words = (trial) => `trial ${trial.number}: ${found.metric} ${measured(found.metric, trial.value)}, ${place(trial)} (${trial.state})`;

function best() {
  const line = element("best-trial");
  if (found.best === null) { line.textContent = "No trial has succeeded with a finite value yet. "; return; }
  const trial = found.trials[found.best];
  const link = make("a", `Trial ${trial.number}`);
  link.href = at(`/jobs/${trial.job}`);
  line.replaceChildren("Best: ", link, `, ${found.metric} ${measured(found.metric, trial.value)}, with ${place(trial)}. `);
}

function importance() {
  const rows = Object.entries(found.importance).map(([path, share]) => {
    const row = make("tr");
    const name = make("th", path);
    name.scope = "row";
    const meter = document.createElement("meter");
    Object.assign(meter, { min: 0, max: 1, value: share });
    meter.setAttribute("aria-label", `Importance of ${path}`);
    const bar = make("td");
    bar.append(meter);
    row.append(name, bar, make("td", `${Math.round(100 * share)} %`, "number"));
    return row;
  });
  element("importance").replaceChildren(...rows);
  element("importance-why").textContent = found.why ? `Not known: ${found.why}.` : "What separates the best tenth of the trials from the others (PED-ANOVA, by Optuna). A value that many trials share by chance counts too.";
}

function history() {
  const box = element("history");
  const of = (states) => found.trials.map((t) => (states(t.state) ? t.value : null));
  const data = [found.trials.map((t) => t.number), found.trials.map((t) => t.best), of((s) => s === "succeeded"), of((s) => s !== "succeeded")];
  const dots = (label, hue) => ({ label, stroke: colour(hue), fill: colour(hue), paths: () => null, points: { show: true, size: 7, fill: colour(hue) }, value: (u, v) => measured(found.metric, v) });
  const axis = { stroke: cssColour("--quiet"), grid: { stroke: cssColour("--line"), width: 1 }, ticks: { stroke: cssColour("--line"), width: 1 } };
  plot?.destroy();
  box.replaceChildren();
  plot = new uPlot({
    width: box.clientWidth, height: 280, scales: { x: { time: false } },
    series: [{ label: "trial" }, { label: "best so far", stroke: colour(0), width: 2, value: (u, v) => measured(found.metric, v) }, dots("succeeded", 0), dots("stopped early, running or failed", 1)],
    axes: [{ ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] }, { ...axis, ...incrementsOf(found.metric), size: 64, values: marksOf(found.metric) }],
  }, data, box);
  plot.root.setAttribute("role", "img");
  const last = found.trials[found.trials.length - 1];
  plot.root.setAttribute("aria-label", `${found.metric} of ${found.trials.length} trials; the best so far is ${last?.best === null || !last ? "not known" : measured(found.metric, last.best)}`);
}

const reload = throttled(load, 3000);
reload();
follow("/v1/events", reload, element("study").dataset.after);
document.addEventListener("themechange", () => found && draw());
addEventListener("resize", throttled(() => found && draw(), 300));
