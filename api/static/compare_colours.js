// The colours of compared runs and of the bands that join their seeds: by what differs, or by any column.
import { computed, post } from "./app.js";
import { cssColour, measured } from "./charts.js";
import { said } from "./compare_table.js";
import { nameAt } from "./not_finite.js";
import { shade } from "./parallel.js";
import { moment } from "./times.js";

export const BY_GROUP = "what differs";
/** More different numbers than this share a scale and do not get one colour each. */
const MOST_COLOURS = 8;

/** Numbers over more than a decade can be distinguished only on a logarithmic axis. */
export function isWide(values) {
  const numbers = values.filter((v) => typeof v === "number");
  return numbers.length > 0 && Math.min(...numbers) > 0 && Math.max(...numbers) / Math.min(...numbers) > 10;
}

/** The value of each run in the column *by*: {by, kind, of: id to value}; moments are milliseconds. */
export async function valuesBy(found, by) {
  if (by === BY_GROUP) return { by, kind: "group", of: new Map(found.runs.map((run) => [run.id, run.group])) };
  if (by in found.differing) return { by, kind: "field", of: new Map(found.runs.map((run) => [run.id, found.differing[by][run.group]])) };
  const page = await computed(() => post("/v1/jobs:table", { jobs: found.runs.map((run) => run.id), columns: [by], limit: 1000 }));
  const [{ kind }] = page.columns;
  return { by, kind, of: new Map(page.rows.map((row) => [row.id, nameAt(row, "/values/0") ?? plain(row.values[0], kind)])) };
}

const plain = (value, kind) => (kind === "moment" && value !== null ? Date.parse(value) : value);

/** Divide *runs* into those that share a band: one group and one value. Numbers are averaged, but never over seeds. */
export function parts(runs, { by, of }) {
  const found = new Map();
  for (const run of [...runs].sort((a, b) => a.group - b.group || a.seed - b.seed)) {
    const isAveraged = typeof of.get(run.id) === "number" && by !== "seed";
    const key = isAveraged ? String(run.group) : `${run.group} ${said(of.get(run.id))}`;
    found.set(key, [...(found.get(key) ?? []), run]);
  }
  return [...found.values()];
}

/** The value that represents the *runs* of a band. */
export function valueOf(runs, { of }) {
  const values = runs.map((run) => of.get(run.id));
  const isMixed = values.some((v) => v !== values[0]);
  return isMixed && values.every((v) => typeof v === "number") ? values.reduce((a, b) => a + b, 0) / values.length : values[0];
}

/** Colours for *values* of a column: {of: value to {hue, label, ink}, scale: in words, if a scale is used}. */
export function palette(values, { by, kind }, groups = []) {
  if (kind === "group") return { of: (value) => ({ hue: value, label: groups[value].label }) };
  const text = (v) => (typeof v !== "number" ? said(v) : kind === "moment" ? moment(v) : measured(by, v));
  const numbers = [...new Set(values.filter((v) => typeof v === "number"))].sort((a, b) => a - b);
  if (numbers.length > MOST_COLOURS) return scaled(numbers, by, text);
  const texts = [...new Set([...numbers.map(text), ...values.filter((v) => typeof v !== "number").map(text).sort()])];
  return { of: (value) => ({ hue: texts.indexOf(text(value)), label: text(value) }) };
}

function scaled(numbers, by, text) {
  const shape = isWide(numbers) ? Math.log : (v) => v;
  const [low, high] = [numbers[0], numbers[numbers.length - 1]];
  const share = (v) => (shape(v) - shape(low)) / (shape(high) - shape(low));
  const ink = (v) => (typeof v === "number" ? shade(share(v)) : cssColour("--quiet"));
  return {
    of: (value) => ({ hue: numbers.indexOf(value), label: text(value), ink: ink(value) }),
    scale: `lighter where ${by} is larger: from ${text(low)} to ${text(high)}.`,
  };
}
