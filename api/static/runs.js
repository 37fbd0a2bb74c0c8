// The page of the table of runs: its parts put together, and its state in the address.
import { at, fail, follow, onReturn, throttled } from "./app.js";
import { columnSuggestions, Completion, filterSuggestions } from "./completion.js";
import { Grid } from "./runs_grid.js";
import { Head, remove } from "./runs_head.js";
import { Groups, names, Pages, refused } from "./runs_pages.js";
import { Selection } from "./runs_selection.js";
import { fromAddress, ordered, reductions, toAddress, usual } from "./runs_state.js";
import { Views } from "./runs_views.js";

const element = (id) => document.getElementById(id);
let state = fromAddress(location.search) ?? usual();
let view = null;
let rows = null;
let question = null;

const place = (row) => (row.jobs.length > 1 ? at(`/compare?${new URLSearchParams(row.jobs.map((job) => ["job", job]))}`) : at(`/jobs/${row.id}`));
const selection = new Selection(() => ({ state, rows, question }), () => grid.redraw(), () => renew());
const grid = new Grid(element("box"), selection, {
  href: place,
  open: (row) => location.assign(place(row)),
  failed: (error) => failed(error),
});
const head = new Head(grid, (work) => { work(state); show(); });
const views = new Views(() => state, (stored, shown) => { state = stored ?? usual(); view = shown; show(); });

function wrong(id, message) {
  element(`${id}-wrong`).textContent = message;
  element(`${id}-wrong`).hidden = !message;
  element(id).toggleAttribute("aria-invalid", Boolean(message));
}

let added = null; // the column that the reader has typed last
let dropped = []; // why columns of the view or of the address are not shown

/** Show the state: read its rows again, and write it into the address. */
function show(reasons = []) {
  dropped = reasons;
  history.replaceState(null, "", toAddress(state, view));
  element("filter").value = state.filter;
  element("grouped").checked = state.grouped;
  wrong("filter", "");
  question = { columns: ordered(state), sort: state.sort, filter: state.filter || null };
  const Rows = state.grouped ? Groups : Pages;
  rows = new Rows(question, arrived);
  grid.box.scrollTop = 0;
  grid.active = 0;
  element("alike").hidden = true;
  nothing("");
  selection.tell();
  const columns = question.columns.map((name) => ({ name, kind: known.get(name) ?? "text" }));
  head.show(state, columns);
  grid.show(rows, columns, state.pinned.length, state.grouped);
}

const known = new Map(); // the kinds of columns that the server has told

/** A field of specifications is numeric if all its values are numbers: right-aligned, and sorted from the largest. */
function kindOf({ name, kind }, place, listed) {
  if (kind !== "field") return kind;
  const values = listed.map((row) => row.values[place]).filter((value) => value !== null);
  return values.length ? (values.every((value) => typeof value === "number") ? "number" : kind) : known.get(name) ?? kind;
}

function arrived(found) {
  const before = question.columns.map((name) => known.get(name)).join();
  found.columns.forEach((column, place) => { column.kind = kindOf(column, place, found.rows); known.set(column.name, column.kind); });
  if (before !== found.columns.map(({ kind }) => kind).join()) {
    head.show(state, found.columns);
    grid.show(rows, found.columns, state.pinned.length, state.grouped);
  }
  nothing(rows.total !== 0 ? "" : state.filter ? "No run matches this filter." : "There are no runs yet; “New job” on the page of jobs submits one.");
  gone([...dropped, ...found.gone.map((name) => `no run has ever reported ${name}`)]);
  alike(found.differing ?? {});
  selection.tell();
  grid.redraw();
}

/** Say why the table is empty. */
function nothing(words) {
  element("no-runs").textContent = words;
  element("no-runs").hidden = !words;
}

/** Say what a view asks for that no longer exists. */
function gone(reasons) {
  const box = element("view-gone");
  box.hidden = reasons.length === 0;
  box.textContent = reasons.length ? `${view ? `The view “${view.name}” asks for something that does not exist: ` : ""}${reasons.join("; ")}.` : "";
}

/** Say in which fields rows differ that look alike, and offer to show them. */
function alike(differing) {
  const box = element("alike");
  const fields = Object.entries(differing);
  box.hidden = fields.length === 0;
  if (!fields.length) return;
  const listed = fields.slice(0, 5).map(([name, values]) => `${name} (${values.slice(0, 4).map((v) => (typeof v === "object" ? JSON.stringify(v) : v)).join(", ")}${values.length > 4 ? ", …" : ""})`);
  box.textContent = `Each row is a mean over seeds alone. Rows that look alike differ in ${listed.join(", ")}${fields.length > 5 ? ` and ${fields.length - 5} more` : ""}. `;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Show these columns";
  button.addEventListener("click", () => {
    state.columns = [...state.columns, ...fields.slice(0, 10).map(([name]) => name)];
    show();
  });
  box.append(button);
}

/** A refused column is dropped, with the reason; the error of a refused filter is shown next to the filter. */
function failed(error) {
  if (!refused(error)) { if (error.name !== "AbortError") fail(error.message); return; }
  const problems = error.problem.errors ?? [];
  const column = problems.find(({ field }) => field.startsWith("columns.") || field === "sort");
  if (!column) { wrong("filter", problems[0]?.rule ?? error.message); rows.total = 0; nothing("No run is shown, because the filter is not valid."); selection.tell(); grid.redraw(); return; }
  const name = column.field === "sort" ? state.sort.replace(/^-/, "") : question.columns[Number(column.field.split(".")[1])];
  remove(state, name);
  if (!state.columns.length) state.columns = usual().columns;
  if (name === added) { show(dropped); wrong("add", column.rule); } else show([...dropped, column.rule]);
}

function add(name) {
  const column = name.trim();
  wrong("add", "");
  if (column && !state.columns.includes(column)) { added = column; state.columns = [...state.columns, column]; show(dropped); }
  element("add").value = "";
}

element("question").addEventListener("submit", (event) => {
  event.preventDefault();
  if (document.activeElement === element("add")) { add(element("add").value); return; }
  state.filter = element("filter").value.trim();
  show();
});
element("grouped").addEventListener("change", (event) => { state.grouped = event.target.checked; show(); });

const renew = throttled(async () => { rows.forget(); grid.redraw(); }, 2000);

async function begin() {
  const asked = new URLSearchParams(location.search).get("view");
  await (asked ? views.open(asked) : (show(), views.list()));
}

/** Complete names as soon as they are known, also for somebody who is already typing. */
async function complete() {
  const fields = [];
  const inputs = [
    new Completion(element("filter"), element("filter-suggestions"), filterSuggestions(fields)),
    new Completion(element("add"), element("add-suggestions"), columnSuggestions(fields, reductions), add),
  ];
  fields.push(...await names());
  inputs.find(({ input }) => input === document.activeElement)?.open();
}

begin().catch((error) => { fail(error.message); show(); });
complete().catch((error) => fail(error.message));
follow("/v1/events", renew, element("live").dataset.after);
onReturn(renew);
