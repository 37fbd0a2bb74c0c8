// The reference that all means are compared with: chosen among the values that a view shows, tested by the server.
import { ask, computed } from "./app.js";

export const SIGNIFICANT = 0.05;

/** Offer each value of the factors that are shown; keep the choice while it is among them. */
export function offer(select, factors) {
  const before = select.value;
  const groups = factors.filter((factor) => factor.values.length > 1).map((factor) => {
    const group = document.createElement("optgroup");
    group.label = factor.name;
    group.append(...factor.values.map((value) => new Option(value, JSON.stringify([factor.name, value]))));
    return group;
  });
  select.replaceChildren(new Option("nothing", ""), ...groups);
  if ([...select.options].some((option) => option.value === before)) select.value = before;
}

/** The path of the reference and its label on it: those of the first path of a factor. */
export function chosen(select, table, factors) {
  if (!select.value) return null;
  const [name, value] = JSON.parse(select.value);
  const factor = factors.find((f) => f.name === name);
  const row = table.rows.find((r) => factor.paths.map((path) => r.labels[path]).join(", ") === value);
  return { factor, value, axis: factor.paths[0], against: row.labels[factor.paths[0]] };
}

/** Ask for the differences of all rows; return a function that finds the one of a row. */
export async function differences(study, reference, question) {
  const query = new URLSearchParams([["axis", reference.axis], ["against", reference.against], ...question]);
  const found = await computed(() => ask(`/v1/studies/${study}/differences?${query}`));
  const rows = new Map(found.rows.map((row) => [key(row.labels), row]));
  return (row) => rows.get(key(row.labels));
}

const key = (labels) => JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));

/** Write a difference: `+0.012, p = 0.031 *`; the star says that it is significant. */
export function said(found) {
  if (!found) return "no finite seed in common";
  const p = found.p_adjusted;
  const test = p === null ? (found.n < 2 ? "one seed, no test" : "no spread, no test") : p < 0.001 ? "p < 0.001" : `p\u00a0=\u00a0${p.toFixed(3)}`;
  return `${parseFloat(found.mean_text) > 0 ? "+" : ""}${found.mean_text}, ${test}${isSignificant(found) ? " *" : ""}`;
}

export const isSignificant = (found) => Boolean(found) && found.p_adjusted !== null && found.p_adjusted < SIGNIFICANT;
