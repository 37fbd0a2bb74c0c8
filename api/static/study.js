// The page of one study: heat maps of its factors, means with their spread, learning curves, table, exports.
import { ask, computed, fail, follow, onReturn, throttled } from "./app.js";
import { gather } from "./study_curves.js";
import { point } from "./study_exports.js";
import { factorsOf, firstView, placeOf, viewsOf } from "./study_factors.js";
import { heatMap } from "./study_heat.js";
import { clear, drawCurves, drawMeans } from "./study_lines.js";
import { fixedValues, forgetLost, keepApart, keepKnown, remember, restore, tellLost } from "./study_menus.js";
import * as references from "./study_reference.js";
import { intervalOf, note, reach, spreadOf, WORDS } from "./study_spread.js";
import { fill, make, whyNone } from "./study_table.js";

const element = (name) => document.getElementById(name);
const article = element("study");
const id = article.dataset.study;
const axes = JSON.parse(article.dataset.axes);
const form = element("question");
const MOST_VALUES = 30;
const MOST_PANELS = 12;
const chosen = new Map(fixedValues());
let table = null;
let factors = [];
let views = [];
let turn = 0;
let compared = null; // {found, isReference}: the differences of all rows

const question = () => [
  ["metric", form.metric.value.trim() || form.metric.defaultValue], ["reduction", form.reduction.value], ["interval", intervalOf(form.around.value)],
];

function wrong(message) {
  const line = element("question-wrong");
  line.textContent = message;
  line.hidden = !message;
  form.metric.toggleAttribute("aria-invalid", Boolean(message));
}

async function load() {
  let found;
  try {
    found = await computed(() => ask(`/v1/studies/${id}/results?${new URLSearchParams(question())}`)); // all paths: each row is a mean over seeds only
    wrong("");
  } catch (error) {
    if (!error.problem) throw error;
    if (!table) element("no-results").textContent = "No result is shown, because no job has this metric. Choose another one.";
    return wrong(error.message);
  }
  table = found;
  factors = factorsOf(table, axes);
  offer();
  const some = table.rows.some((row) => row.n > 0);
  const empty = element("no-results");
  empty.hidden = some;
  empty.textContent = some ? "" : whyNone(table.rows);
  element("results").hidden = !some;
  if (some) await draw();
}

/** Fill the menus of factors for rows, columns and panels, initially and when a study has a new factor. */
function offer() {
  const names = factors.map((factor) => factor.name);
  if ([...form.rows.options].map((o) => o.value).join("\n") === names.join("\n")) return;
  const { down, across } = firstView(factors);
  form.rows.replaceChildren(...names.map((name) => new Option(name)));
  for (const select of [form.columns, form.panels]) select.replaceChildren(...names.map((name) => new Option(name)), new Option("none", ""));
  form.rows.value = down?.name ?? "";
  form.columns.value = across?.name ?? "";
  form.panels.value = "";
  restore(form, ["rows", "columns", "panels"]);
}

/** The factors that the view shows; each of them once. */
function shown() {
  const named = (name) => factors.find((factor) => factor.name === name) || null;
  const down = named(form.rows.value);
  const across = form.columns.value === form.rows.value ? null : named(form.columns.value);
  const panels = [form.rows.value, form.columns.value].includes(form.panels.value) ? null : named(form.panels.value);
  return { down, across, panels };
}

/** Fill the menus for the factors that are not shown: one value of each is selected, and none is averaged over. */
function offerFixed() {
  element("fixed").replaceChildren(...views[0].open.map((factor, i) => {
    const box = document.createElement("div");
    const label = document.createElement("label");
    const select = document.createElement("select");
    label.textContent = `Where ${factor.name} is`;
    label.htmlFor = select.id = `fixed-${i}`;
    select.append(...factor.values.map((value) => new Option(value)));
    select.value = views[0].chosen.get(factor.name);
    select.addEventListener("change", async () => { chosen.set(factor.name, select.value); remember(form, chosen); await again(); element(select.id)?.focus(); });
    box.append(label, select);
    return box;
  }));
}

/** Read the differences from the reference, and draw; a later choice replaces an earlier one. */
async function draw() {
  const mine = turn += 1;
  const { down, across, panels } = shown();
  views = viewsOf(table, factors, { down, across, panels }, chosen);
  const showing = [down, across, panels].filter(Boolean);
  references.offer(form.reference, showing);
  restore(form, ["reference"]);
  keepKnown(chosen, factors);
  tellLost(element("link-lost"));
  const reference = references.chosen(form.reference, table, factors);
  const where = views[0].where.map((value) => ["where", value]);
  const asked = [...question(), ...where];
  const found = reference && await references.differences(id, reference, asked);
  if (mine !== turn) return;
  compared = reference && { found, isReference: (row) => placeOf(row, reference.factor) === reference.value };
  const against = reference ? [["axis", reference.axis], ["against", reference.against]] : [];
  const paths = showing.map((factor) => ["group_by", factor.paths[0]]);
  point(id, question(), [...paths, ...where], [["spread", spreadOf(form.around.value)], ...against]);
  redraw();
}

function redraw() {
  offerFixed();
  // A search tries a new value in every trial: its trials are drawn in a separate section.
  const drawable = !element("search") && views.length <= MOST_PANELS && views.every((view) => view.columns.length <= MOST_VALUES && view.lines.length <= MOST_VALUES);
  for (const box of document.querySelectorAll("#results figure, #figures")) box.hidden = !drawable;
  element("learning").hidden = !drawable;
  element("fixed").hidden = !drawable;
  fill(table);
  if (!drawable) return;
  heat();
  means();
  const before = element("slice").value;
  element("slice").replaceChildren(...slices().map(({ label, value }) => new Option(label, value)));
  if ([...element("slice").options].some((option) => option.value === before)) element("slice").value = before;
  element("slice-label").textContent = shown().across?.name || "For";
  curves().catch((error) => fail(error.message));
}

function heat() {
  const rows = views.flatMap((view) => view.rows);
  const known = rows.filter((row) => row.mean !== null).sort((a, b) => a.mean - b.mean);
  const [least, most] = [known[0], known[known.length - 1]];
  const around = form.around.value;
  const look = { metric: table.metric, least: least?.mean, most: most?.mean, spread: spreadOf(around), ...compared };
  const caption = (view) => {
    const where = [view.panel, view.words].filter(Boolean).join("; ");
    return [`${table.metric}, ${table.reduction}${where ? ` where ${where}` : ""}: mean over seeds`, WORDS[around]].filter(Boolean).join("; below: ");
  };
  element("heat").replaceChildren(...views.map((view) => heatMap(view, caption(view), look)));
  const test = compared ? " Differences are from the reference, paired by seed; p is from the paired t test, adjusted after Holm for all cells here; * means p < 0.05." : "";
  element("heat-legend").textContent = known.length ? `Darker cells have larger values: from ${least.mean_text} to ${most.mean_text}.${test}` : "No cell here has a value yet.";
}

function means() {
  const rows = views.flatMap((view) => view.rows);
  const spread = spreadOf(form.around.value);
  drawMeans(element("lines"), views, { metric: table.metric, spread, range: reach(rows, spread) });
  element("lines-note").textContent = note(rows, spread);
}

/** The columns whose learning curves can be chosen, for each panel. */
const slices = () => views.flatMap((view, i) => view.columns.map((column) => ({
  value: JSON.stringify([i, column]), label: [column || "all seeds", view.panel].filter(Boolean).join(", "),
})));

async function curves() {
  const box = element("curves");
  const [place, column] = JSON.parse(element("slice").value);
  const view = views[place];
  const found = view.lines.map((line) => ({ label: line || "all seeds", hue: view.hue(line), row: view.cell(line, column) })).filter(({ row }) => row);
  const { curves: some, left } = await gather(table.metric, found);
  element("learning-left").textContent = left ? `The first ${found.length - left} of ${found.length} rows are drawn.` : "";
  if (!some.length) {
    clear(box);
    box.append(make("p", nothing(found.map(({ row }) => row)), "quiet"));
    return;
  }
  drawCurves(box, some, table.metric, `${table.metric} over updates for ${column || "all seeds"}, one line for each ${view.down?.name || "study"}`);
}

/** Explain why there is no curve, from the states of the jobs that would have one. */
function nothing(list) {
  const states = {};
  for (const state of list.flatMap((row) => Object.values(row.states))) states[state] = (states[state] || 0) + 1;
  const said = Object.entries(states).map(([state, count]) => `${count} ${state}`).join(", ");
  return `No job that is running or has succeeded has reported ${table.metric} yet${said ? `: ${said}` : ""}.`;
}

const visible = () => table && !element("results").hidden;
const again = async () => { if (visible()) await draw().catch((error) => fail(error.message)); };
const reload = throttled(load, 2000);
form.addEventListener("submit", (event) => event.preventDefault());
for (const field of [form.metric, form.reduction]) field.addEventListener("change", reload);
form.around.addEventListener("change", () => (intervalOf(form.around.value) === table?.interval ? again() : reload()));
for (const select of [form.rows, form.columns, form.panels]) select.addEventListener("change", () => { keepApart(form, select); again(); });
form.reference.addEventListener("change", again);
form.addEventListener("change", () => { forgetLost(); tellLost(element("link-lost")); remember(form, chosen); });
element("slice").addEventListener("change", () => curves().catch((error) => fail(error.message)));
document.addEventListener("themechange", () => visible() && redraw());
addEventListener("resize", throttled(() => visible() && redraw(), 300));

const progress = throttled(async () => {
  const study = await ask(`/v1/studies/${id}?cells=100`);
  const done = study.counts.succeeded || 0;
  const others = ["running", "queued", "planned", "failed", "cancelled", "pruned", "missing"].filter((n) => study.counts[n]).map((n) => `, ${study.counts[n]} ${n}`).join("");
  element("counts").textContent = `${study.state}: ${done} of ${study.cells} cells done${others}${study.reused ? `; ${study.reused} reused from other jobs` : ""}.`;
  element("progress").value = done + (study.counts.pruned || 0);
  const job = study.grid.find((c) => c.job && c.state !== "queued")?.job;
  const list = element("metrics");
  if (job && !list.children.length) list.append(...Object.keys(await ask(`/v1/jobs/${job}/metrics:names`)).map((n) => new Option(n)));
}, 2000);

restore(form, ["metric", "reduction", "around"]);
progress();
reload();
const renew = () => { progress(); reload(); };
follow("/v1/events", renew, article.dataset.after);
onReturn(renew);
