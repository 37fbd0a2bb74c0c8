// The page that compares runs: fields that differ, differences, curves, and any two columns.
import { ask, computed, fail, post, throttled } from "./app.js";
import { colour } from "./charts.js";
import { clear, drawCurves, resize } from "./compare_charts.js";
import { BY_GROUP, isWide, palette, parts, valueOf, valuesBy } from "./compare_colours.js";
import { aligned, along, joined, smoothed, withoutOutliers } from "./compare_curves.js";
import { chosen, drawScatter, knownColumns, offerColumns, onChoice } from "./compare_scatter.js";
import { fill, said, toldFirst } from "./compare_table.js";
import { nameAt } from "./not_finite.js";
import { counted, hasUnit, measured } from "./numbers.js";
import { drawParallel } from "./parallel.js";

const element = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const jobs = [...new Set(query.getAll("job"))];
const POINTS = 800;
const MOST_AXES = 7;
const DRAWN = ["colour", "x", "smoothing", "bands", "log-x", "log-y", "outliers"];
let found = null;
let series = new Map();
const asking = { key: null, curves: null, times: false }; // for the curves that were asked for last
let values = null; // the column that colours tell
let gone = []; // columns of the address that no run has

const metricName = () => element("metric").value || query.get("metric") || "val/accuracy";
const asked = () => {
  const reduction = element("reduction").value;
  return reduction === "last" ? metricName() : `${metricName()}:${reduction}`;
};

/** Note a new request; the returned function tells whether it is still the latest of its kind. */
const turns = {};
function turn(kind) {
  const mine = turns[kind] = (turns[kind] ?? 0) + 1;
  return () => turns[kind] === mine;
}

async function load() {
  const wanted = turn("load");
  asking.key = null; // curves of running jobs have grown, as the numbers beside them have
  curvesOf(jobs); // this and the columns are read beside the comparison
  knownColumns();
  const reference = query.get("reference");
  const answer = await computed(() => post("/v1/jobs:compare", { jobs, metric: asked(), leave_out_gone: true, ...(reference ? { reference } : {}) }));
  if (!wanted()) return;
  found = answer;
  fail("");
  element("compared").hidden = false;
  element("title").textContent = `Compare ${counted(found.runs.length, "run")}`;
  offer(element("metric"), found.metrics, metricName());
  explain();
  tellGone();
  const missing = await offerColumns(found, query, metricName());
  if (!wanted() || !await recolour()) return;
  gone = missing;
  table();
  await Promise.all([curves(), scatter().then(parallel)]);
}

function table() {
  fill(element("groups"), found, ofGroups(), (job) => { query.set("reference", job); remember(); load().catch(failed); });
}

/** Offer *names*; a requested name that does not exist stays chosen, because the page is about it. */
function offer(select, names, chosen) {
  const all = names.includes(chosen) ? names : [chosen, ...names];
  select.replaceChildren(...all.map((name) => new Option(name === chosen && !names.includes(name) ? `${name} (no run has it)` : name, name)));
  select.value = chosen;
}

function explain() {
  const fields = Object.keys(found.differing).length;
  const alone = fields ? "" : found.runs.length > 1 ? "These runs differ only in their seed. " : "This is one run; choose more in the table of runs. ";
  const unknown = found.metrics.includes(metricName()) ? "" : `None of these runs has reported ${metricName()}. `;
  element("explained").textContent = `${unknown}${alone}Runs that differ only in their seed share a row; only succeeded runs have a value. `
    + "Differences are from the reference, paired by seed, with Student's interval; p is from the paired t test, adjusted for all rows together.";
}

/** Name the runs of the address that do not exist. */
function tellGone() {
  const { gone: runs } = found;
  element("runs-gone").hidden = runs.length === 0;
  element("runs-gone").textContent = runs.length
    ? `${counted(runs.length, "run")} of this link ${runs.length === 1 ? "was" : "were"} deleted or ${runs.length === 1 ? "is" : "are"} in a project that you cannot see. ${runs.length === 1 ? "Its id" : "Their ids"}: ${runs.join(", ")}.`
    : "";
}

/** The colours of the chosen column: each value, of a run or the mean of a band, has one colour everywhere. */
function columnColours() {
  const means = parts(found.runs, values).map((runs) => valueOf(runs, values));
  return palette([...values.of.values(), ...means], values, found.groups);
}

/** The colours by the chosen column: a function of a list of runs, and the words for a scale. */
function hues() {
  const bands = element("bands").checked ? parts(found.runs, values) : found.runs.map((run) => [run]);
  const colours = columnColours();
  const of = (runs) => colours.of(valueOf(runs, values));
  const isTold = values.kind === "group" || values.by in found.differing;
  return { bands, of, scale: colours.scale, extra: (runs) => (isTold ? "" : `, ${values.by} ${of(runs).label}`) };
}

/** For each group, the colour of its first band. */
function ofGroups() {
  const { bands, of } = hues();
  return found.groups.map((group) => of(bands.find((runs) => runs.some((run) => run.id === group.jobs[0]))));
}

/** Read the chosen column of all runs, and draw all that it colours. */
async function recolour() {
  const wanted = turn("colour");
  const read = await valuesBy(found, element("colour").value || BY_GROUP);
  if (!wanted()) return false;
  values = read;
  return true;
}

/** Request the curves of *ids* once: from each id to its curve; with times only if they are drawn. */
function curvesOf(ids) {
  asking.times ||= element("x").value === "time";
  const question = new URLSearchParams({ name: metricName(), max_points: POINTS, times: asking.times });
  for (const id of ids) question.append("job", id);
  const key = `${metricName()} ${asking.times} ${[...ids].sort()}`;
  if (asking.key === key) return asking.curves;
  const curves = computed(() => ask(`/v1/series?${question}`)).then((list) => new Map(ids.map((id, i) => [id, list[i]])));
  Object.assign(asking, { key, curves });
  curves.catch(() => { if (asking.key === key) asking.key = null; });
  return curves;
}

async function curves() {
  const wanted = turn("curves");
  const read = await curvesOf(found.runs.map((run) => run.id));
  if (!wanted()) return;
  series = read;
  draw();
}

function draw() {
  const colours = hues();
  const axis = element("x").value;
  const weight = Number(element("smoothing").value);
  const unknown = found.runs.filter((run) => series.get(run.id).steps.length && !along(series.get(run.id), run, axis));
  const each = found.runs.filter((run) => series.get(run.id).steps.length && !unknown.includes(run)).map((run) => {
    const curve = along(series.get(run.id), run, axis);
    const values = smoothed(curve.values, weight);
    return { ...curve, values, ...(weight ? { low: values, high: values } : {}), run };
  });
  const shown = element("bands").checked ? banded(each, colours) : each.map((curve) => ({ ...curve, ...colours.of([curve.run]), label: `${labelOf(curve.run)}${values.by === "seed" ? "" : colours.extra([curve.run])}` }));
  const range = element("outliers").checked ? withoutOutliers(shown) : null;
  note(unknown, shown, range, weight, colours.scale);
  if (!shown.length) { clear(element("chart"), `None of these runs has reported ${metricName()}.`); return; }
  const drawn = positive(shown, element("log-x").checked, element("log-y").checked);
  const words = { update: "updates", epoch: "epochs", sample: "samples", time: "seconds" };
  drawCurves(element("chart"), drawn, aligned(drawn), { axis: words[axis], logX: element("log-x").checked, logY: element("log-y").checked, range: range?.range, metric: metricName() });
}

/** Join the curves of runs that share a band. */
function banded(each, { bands, of, extra }) {
  return bands.map((runs) => {
    const curves = each.filter(({ run }) => runs.includes(run));
    const label = `${found.groups[runs[0].group].label}${extra(runs)} (n = ${curves.length})`;
    return { ...joined(curves), ...of(runs), label };
  }).filter((curve) => curve.xs?.length);
}

const labelOf = (run) => `${run.name ?? found.groups[run.group].label}, seed ${run.seed}`;

/** A logarithmic axis cannot show values that are not positive. */
function positive(curves, logX, logY) {
  const kept = (values) => (logY ? values.map((v) => (v > 0 ? v : null)) : values);
  return curves.map((curve) => {
    const from = logX ? curve.xs.findIndex((x) => x > 0) : 0;
    const cut = (values) => values.slice(Math.max(0, from));
    return { ...curve, xs: cut(curve.xs), values: kept(cut(curve.values)), low: kept(cut(curve.low)), high: kept(cut(curve.high)) };
  });
}

function note(unknown, shown, range, weight, scale) {
  const told = [];
  if (element("bands").checked) told.push("A line is the mean over the seeds of a row, where all seeds have a value; its band reaches from the smallest to the largest value.");
  if (scale) told.push(`A line is ${scale}`);
  if (weight) told.push(`Smoothed with weight ${weight}.`);
  if (range) told.push(`${range.ignored} outlying points are outside the picture.`);
  const gaps = found.runs.filter((run) => Object.keys(series.get(run.id).not_finite).some((place) => place.startsWith("/values"))).length;
  if (gaps) told.push(`The curves of ${gaps} run${gaps === 1 ? "" : "s"} have gaps where they are NaN or infinite.`);
  if (unknown.length) told.push(`${unknown.length} run${unknown.length === 1 ? " is" : "s are"} left out because the number of updates per epoch is not known yet.`);
  element("curve-note").textContent = told.join(" ");
}

async function scatter() {
  const { of, scale } = columnColours();
  await drawScatter(found, { by: values.by, scale, of: (id) => of(values.of.get(id)) }, gone, turn("scatter"));
}

const inkOf = ({ hue, ink }) => ink ?? colour(hue);

const compared = (value) => (typeof value === "number" && hasUnit(asked()) ? measured(asked(), value) : said(value));

/** Draw a line for each run through the fields that differ and the compared number. */
async function parallel() {
  const all = toldFirst(found);
  const shared = all.filter((path) => found.differing[path].every((value) => value !== null && value !== undefined)); // options of some kinds follow from the kind
  const fields = (shared.length ? shared : all).slice(0, MOST_AXES);
  const columns = [...fields, "seed", asked()];
  const wanted = turn("parallel");
  const page = await computed(() => post("/v1/jobs:table", { jobs: found.runs.map((run) => run.id), columns, limit: 1000 }));
  if (!wanted()) return;
  const colours = values.by === asked() ? columnColours() : null; // one colour for one value of a column
  const rows = page.rows.map((row) => ({
    ink: colours && inkOf(colours.of(values.of.get(row.id))),
    label: `${labelOf(found.runs.find((run) => run.id === row.id))}: ${asked()} ${nameAt(row, `/values/${columns.length - 1}`) ?? compared(row.values[columns.length - 1])}`,
    values: row.values.map((v, i) => (i < fields.length && typeof v !== "number" ? said(v) : v)),
  }));
  const left = drawParallel(element("parallel"), columns.map((name) => ({ name, logarithmic: isWide(rows.map((row) => row.values[columns.indexOf(name)])) })), rows);
  const bad = page.rows.filter((row) => Object.keys(row.not_finite).length).length;
  const more = all.length - fields.length;
  element("parallel-note").textContent = `A line is a run, ${colours ? "coloured as the curves are" : `lighter where ${asked()} is larger`}.${left > bad ? ` ${left - bad} runs have no value yet, and are left out.` : ""}${bad ? ` ${bad} run${bad === 1 ? " is" : "s are"} NaN or infinite, and left out.` : ""}${more > 0 ? ` ${fields.length} of the ${all.length} fields that differ; the table above has all.` : ""}`;
}

function remember() {
  query.set("metric", metricName());
  query.set("colour", element("colour").value);
  for (const [key, name] of Object.entries(chosen())) if (name) query.set(key, name);
  for (const id of DRAWN) {
    const input = element(id);
    const value = input.type === "checkbox" ? (input.checked === input.defaultChecked ? "" : String(input.checked)) : input.value === (input.defaultValue ?? "") ? "" : input.value;
    if (value && id !== "colour") query.set(id, value); else if (id !== "colour") query.delete(id);
  }
  query.set("reduction", element("reduction").value);
  history.replaceState(null, "", `${location.pathname}?${query}`);
}

function restore() {
  if (query.has("reduction")) element("reduction").value = query.get("reduction");
  for (const id of DRAWN.filter((name) => query.has(name) && name !== "colour")) {
    if (element(id).type === "checkbox") element(id).checked = query.get(id) === "true";
    else element(id).value = query.get(id);
  }
}

const failed = (error) => { if (error.name !== "AbortError") fail(error.message); };
const again = throttled(async () => { remember(); if (values && series.size) { await curves(); table(); } }, 100);

for (const form of ["question", "drawing"]) element(form).addEventListener("submit", (event) => event.preventDefault());
for (const id of ["metric", "reduction"]) element(id).addEventListener("change", () => { query.set("metric", metricName()); remember(); load().catch(failed); });
for (const id of DRAWN.filter((name) => name !== "colour")) element(id).addEventListener("input", again);
element("colour").addEventListener("change", () => recolour().then(async (isNew) => { if (isNew) { again(); await Promise.all([scatter(), parallel()]); } }).catch(failed));
onChoice(() => { gone = []; remember(); scatter().catch(failed); });
document.addEventListener("themechange", () => values && (again(), scatter().catch(failed), parallel().catch(failed)));
addEventListener("resize", throttled(resize, 300));
restore();
if (jobs.length) load().catch(failed);
else element("nothing").hidden = false;
