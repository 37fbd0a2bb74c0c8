// Any two columns of compared runs against each other, coloured by a third one.
import { ask, computed, post } from "./app.js";
import { measured } from "./charts.js";
import { clear, drawPoints } from "./compare_charts.js";
import { BY_GROUP, isWide, palette } from "./compare_colours.js";
import { said, toldFirst } from "./compare_table.js";
import { nameAt } from "./not_finite.js";
import { moment } from "./times.js";

const AS_ABOVE = "as the curves";
const REDUCTIONS = [["last values", ""], ["best values", ":best"], ["means", ":mean"], ["minima", ":min"], ["maxima", ":max"]];

const element = (id) => document.getElementById(id);
const OF_CURVES = element("colour");
const selects = { sx: element("scatter-x"), sy: element("scatter-y"), sc: element("scatter-colour") };
let names = null;

/** Ask for every column that the service knows, once. */
export function knownColumns() {
  names ??= computed(() => ask("/v1/jobs:fields")).then(({ fields }) => fields);
  names.catch(() => { names = null; });
  return names;
}

/** Offer every column that the service knows, those in which the runs of *found* differ first; return what *query* names and does not exist. */
export async function offerColumns(found, query, metric) {
  const names = await knownColumns();
  const differing = toldFirst(found);
  const of = (kind) => names.filter((n) => n.kind === kind && !differing.includes(n.name)).map((n) => n.name);
  const groups = [
    ["what differs", differing], ["of the job", of("column")], ["of its specification", of("field")],
    ...REDUCTIONS.map(([label, ending]) => [label, found.metrics.map((name) => `${name}${ending}`)]),
  ];
  const usual = { sx: differing[0] ?? "seed", sy: metric, sc: AS_ABOVE, colour: BY_GROUP };
  const own = { sc: AS_ABOVE, colour: BY_GROUP };
  return Object.entries({ ...selects, colour: OF_CURVES }).map(([key, select]) => {
    const wanted = query.get(key) ?? usual[key];
    fillGroups(select, groups, own[key]);
    select.value = wanted;
    if (select.value === wanted) return null;
    select.value = key === "sy" && found.metrics.length ? found.metrics[0] : usual[key];
    return query.has(key) ? wanted : null;
  }).filter((name) => name !== null);
}

function fillGroups(select, groups, own) {
  select.replaceChildren(...(own ? [new Option(own)] : []), ...groups.filter(([, all]) => all.length).map(([label, all]) => {
    const group = document.createElement("optgroup");
    group.label = label;
    group.append(...all.map((name) => new Option(name)));
    return group;
  }));
}

/** What is chosen, for the address of the page. */
export const chosen = () => Object.fromEntries(Object.entries(selects).map(([key, select]) => [key, select.value]));

/** Draw the runs of *found*; *curves.of(id)* is {hue, label} of a run by the column *curves.by*, *gone* are names without a column. */
export async function drawScatter(found, curves, gone, isWanted) {
  const { sx: x, sy: y, sc } = chosen();
  const columns = [x, y, ...(sc === AS_ABOVE ? [] : [sc])];
  const page = await computed(() => post("/v1/jobs:table", { jobs: found.runs.map((run) => run.id), columns, limit: 1000 }));
  if (!isWanted()) return;
  const rows = page.rows.filter((row) => row.values.slice(0, 2).every((v) => v !== null));
  const across = axis(rows, 0, page.columns[0].kind, x);
  const up = axis(rows, 1, page.columns[1].kind, y);
  const isShared = sc === AS_ABOVE || sc === curves.by; // one colour for one value of a column
  const by = isShared ? { scale: curves.scale, of: (row) => curves.of(row.id) } : coloured(rows, sc, page.columns[2].kind);
  const points = rows.map((row, i) => ({ x: across.values[i], y: up.values[i], ...by.of(row) }));
  const bad = page.rows.filter((row) => nameAt(row, "/values/0") ?? nameAt(row, "/values/1"));
  note(page.rows.length - rows.length - bad.length, bad.length, gone, by.scale, [[x, across], [y, up]].filter(([, { isWide: wide }]) => wide).map(([name]) => name));
  if (points.length) drawPoints(element("scatter"), points, { x, y, axes: { x: across, y: up }, named: !by.scale });
  else clear(element("scatter"), "No run has a value in both columns.");
}

const counts = (number, many) => `${number} run${number === 1 ? "" : "s"} ${many[number === 1 ? 0 : 1]}`;

function note(missing, bad, gone, scale, wide) {
  const parts = gone.map((name) => `No run here has a column ${name}.`);
  if (missing) parts.push(`${counts(missing, ["has no value in one of the columns, and is", "have no value in one of the columns, and are"])} left out.`);
  if (bad) parts.push(`${counts(bad, ["is", "are"])} NaN or infinite in one of the columns, where no point can be.`);
  if (scale) parts.push(`A point is ${scale}`);
  if (wide.length) parts.push(`Logarithmic: ${wide.join(" and ")}, because the values span more than a factor of ten.`);
  element("scatter-note").textContent = parts.join(" ");
}

/** The positions of a column's values: numbers and moments on their scale, anything else in the order of its texts. */
function axis(rows, at, kind, name) {
  const values = rows.map((row) => row.values[at]);
  if (kind === "moment") return { values: values.map((v) => Date.parse(v)), text: (v) => moment(v), isLong: true };
  if (values.every((v) => typeof v === "number")) return { values, name, text: (v) => measured(name, v), isWide: isWide(values), isWhole: values.every(Number.isInteger) };
  const texts = [...new Set(values.map(said))].sort();
  return { values: values.map((v) => texts.indexOf(said(v))), text: (v) => texts[v] ?? "", texts };
}

function coloured(rows, by, kind) {
  const value = (row) => nameAt(row, "/values/2") ?? (kind === "moment" && row.values[2] !== null ? Date.parse(row.values[2]) : row.values[2]);
  const found = palette(rows.map(value), { by, kind });
  return { ...found, of: (row) => found.of(value(row)) };
}

/** Call *work* when another column is chosen. */
export function onChoice(work) {
  for (const select of Object.values(selects)) select.addEventListener("change", work);
}
