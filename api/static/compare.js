// The page that compares runs: what differs, by how much, their curves, and any two columns.
import { ask, computed, fail, post, throttled } from "./app.js";
import { clear, drawCurves, resize } from "./compare_charts.js";
import { aligned, along, joined, smoothed, withoutOutliers } from "./compare_curves.js";
import { chosen, drawScatter, isWide, offerColumns, onChoice } from "./compare_scatter.js";
import { fill, said } from "./compare_table.js";
import { drawParallel } from "./parallel.js";

const element = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const jobs = [...new Set(query.getAll("job"))];
const POINTS = 800;
const MOST_AXES = 7;
const DRAWN = ["colour", "x", "smoothing", "bands", "log-x", "log-y", "outliers"];
let found = null;
let series = new Map();
let gone = []; // columns of the address that no run has

const metricName = () => element("metric").value || query.get("metric") || "val/accuracy";
const asked = () => {
  const reduction = element("reduction").value;
  return reduction === "last" ? metricName() : `${metricName()}:${reduction}`;
};

/** Begin to ask; the function that it returns tells whether no later one of its kind has been asked. */
const turns = {};
function turn(kind) {
  const mine = turns[kind] = (turns[kind] ?? 0) + 1;
  return () => turns[kind] === mine;
}

async function load() {
  const wanted = turn("load");
  const reference = query.get("reference");
  const answer = await computed(() => post("/v1/jobs:compare", { jobs, metric: asked(), ...(reference ? { reference } : {}) }));
  if (!wanted()) return;
  found = answer;
  fail("");
  element("compared").hidden = false;
  element("title").textContent = `Compare ${found.runs.length} runs`;
  offer(element("metric"), found.metrics, metricName());
  offer(element("colour"), ["what differs", ...Object.keys(found.differing), "study", "owner", "seed"], query.get("colour") ?? "what differs");
  explain();
  fill(element("groups"), found, hues().groups, (job) => { query.set("reference", job); remember(); load().catch(failed); });
  await Promise.all([curves(), points(), parallel()]);
}

async function points() {
  const wanted = turn("points");
  const missing = await offerColumns(found, query, metricName());
  if (!wanted()) return;
  gone = missing;
  await scatter();
}

function offer(select, names, chosen) {
  select.replaceChildren(...names.map((name) => new Option(name)));
  if (names.includes(chosen)) select.value = chosen;
}

function explain() {
  const fields = Object.keys(found.differing).length;
  const alone = fields === 0 ? "These runs differ in their seed alone. " : "";
  element("explained").textContent = `${alone}A row has the runs that differ in their seed alone; only succeeded ones have a value. `
    + "The difference is that from the reference, paired by seed, with Student's interval; p is that of the paired t test, adjusted for all rows together.";
}

/** The colour of each group and run: by all that differs, or by one field. */
function hues() {
  const by = element("colour").value || "what differs";
  const of = (run) => {
    if (by === "what differs") return String(run.group);
    if (by === "seed") return String(run.seed);
    if (by === "study") return run.study_name ?? "no study";
    if (by === "owner") return run.owner;
    return said(found.differing[by]?.[run.group]);
  };
  const values = [...new Set(found.runs.map(of))];
  const runs = new Map(found.runs.map((run) => [run.id, values.indexOf(of(run))]));
  const groups = found.groups.map((group) => runs.get(group.jobs[0]));
  return { by, runs, groups, values, of };
}

async function curves() {
  const wanted = turn("curves");
  const name = metricName();
  const question = new URLSearchParams({ name, max_points: POINTS });
  for (const run of found.runs) question.append("job", run.id);
  const list = await computed(() => ask(`/v1/series?${question}`));
  if (!wanted()) return;
  series = new Map(found.runs.map((run, i) => [run.id, list[i]]));
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
    return { ...curve, values, ...(weight ? { low: values, high: values } : {}), run, hue: colours.runs.get(run.id) };
  });
  const shown = element("bands").checked ? banded(each, colours) : each.map((curve) => ({ ...curve, label: labelOf(curve.run) }));
  const range = element("outliers").checked ? withoutOutliers(shown) : null;
  note(unknown, shown, range, weight);
  if (!shown.length) { clear(element("chart"), `None of these runs has reported ${metricName()}.`); return; }
  const drawn = positive(shown, element("log-x").checked, element("log-y").checked);
  const words = { update: "updates", epoch: "epochs", sample: "samples", time: "seconds" };
  drawCurves(element("chart"), drawn, aligned(drawn), { axis: words[axis], logX: element("log-x").checked, logY: element("log-y").checked, range: range?.range, metric: metricName() });
}

/** Join runs of one group to a band; if colours divide a group (by seed, owner, ...), by group and colour. */
function banded(each, colours) {
  const parts = Map.groupBy ? Map.groupBy(each, ({ run, hue }) => `${run.group} ${hue}`) : grouped(each);
  return [...parts.values()].map((curves) => {
    const one = joined(curves);
    const group = found.groups[curves[0].run.group];
    const extra = ["seed", "study", "owner"].includes(colours.by) ? `, ${colours.by} ${colours.of(curves[0].run)}` : "";
    return { ...one, label: `${group.label}${extra} (n = ${curves.length})`, hue: curves[0].hue };
  }).filter((curve) => curve.xs?.length);
}

function grouped(each) {
  const parts = new Map();
  for (const curve of each) {
    const key = `${curve.run.group} ${curve.hue}`;
    parts.set(key, [...(parts.get(key) ?? []), curve]);
  }
  return parts;
}

const labelOf = (run) => `${run.name ?? found.groups[run.group].label}, seed ${run.seed}`;

/** A logarithmic axis has no place for what is not positive. */
function positive(curves, logX, logY) {
  const kept = (values) => (logY ? values.map((v) => (v > 0 ? v : null)) : values);
  return curves.map((curve) => {
    const from = logX ? curve.xs.findIndex((x) => x > 0) : 0;
    const cut = (values) => values.slice(Math.max(0, from));
    return { ...curve, xs: cut(curve.xs), values: kept(cut(curve.values)), low: kept(cut(curve.low)), high: kept(cut(curve.high)) };
  });
}

function note(unknown, shown, range, weight) {
  const parts = [];
  if (element("bands").checked) parts.push("A line is the mean over the seeds of a row, where all of them have a value; its band reaches from the smallest to the largest.");
  if (weight) parts.push(`Smoothed with weight ${weight}.`);
  if (range) parts.push(`${range.ignored} outlying points are outside of the picture.`);
  if (unknown.length) parts.push(`${unknown.length} run${unknown.length === 1 ? " is" : "s are"} left out: how many updates their epochs have is not known yet.`);
  element("curve-note").textContent = parts.join(" ");
}

async function scatter() {
  const colours = hues();
  const labels = new Map(found.runs.map((run) => [run.id, colours.by === "what differs" ? found.groups[run.group].label : colours.of(run)]));
  const curve = (id) => ({ hue: colours.runs.get(id), label: labels.get(id) });
  await drawScatter(found, curve, gone, turn("scatter"));
}

/** Draw a line for each run through the fields that differ, and the number that is compared. */
async function parallel() {
  const fields = Object.keys(found.differing).slice(0, MOST_AXES);
  const columns = [...fields, "seed", asked()];
  const wanted = turn("parallel");
  const page = await computed(() => post("/v1/jobs:table", { jobs, columns, limit: 1000 }));
  if (!wanted()) return;
  const rows = page.rows.map((row) => ({
    label: `${labelOf(found.runs.find((run) => run.id === row.id))}: ${asked()} ${said(row.values[columns.length - 1])}`,
    values: row.values.map((v, i) => (i < fields.length && typeof v !== "number" ? said(v) : v)),
  }));
  const left = drawParallel(element("parallel"), columns.map((name) => ({ name, logarithmic: isWide(rows.map((row) => row.values[columns.indexOf(name)])) })), rows);
  const more = Object.keys(found.differing).length - fields.length;
  element("parallel-note").textContent = `A line is a run, lighter where ${asked()} is larger.${left ? ` ${left} runs have no value yet, and are left out.` : ""}${more > 0 ? ` The first ${fields.length} of ${fields.length + more} fields.` : ""}`;
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
const again = throttled(async () => { remember(); draw(); fill(element("groups"), found, hues().groups, (job) => { query.set("reference", job); remember(); load().catch(failed); }); }, 100);

for (const form of ["question", "drawing"]) element(form).addEventListener("submit", (event) => event.preventDefault());
for (const id of ["metric", "reduction"]) element(id).addEventListener("change", () => { query.set("metric", metricName()); remember(); load().catch(failed); });
for (const id of DRAWN) element(id).addEventListener("input", again);
element("colour").addEventListener("change", () => scatter().catch(failed));
onChoice(() => { gone = []; remember(); scatter().catch(failed); });
document.addEventListener("themechange", () => found && (again(), scatter().catch(failed), parallel().catch(failed)));
addEventListener("resize", throttled(resize, 300));
restore();
if (jobs.length) load().catch(failed);
else element("nothing").hidden = false;
