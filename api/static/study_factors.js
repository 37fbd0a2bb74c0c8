// The factors of a study, and the rows that a view of two factors shows, one row in each place.

export const distinct = (list) => [...new Set(list)];
const isNumeric = (values) => values.every((value) => value.trim() !== "" && Number.isFinite(Number(value)));

/** Label the position of a row on paths that vary together. */
export const placeOf = (row, factor) => factor.paths.map((path) => row.labels[path]).join(", ");

/** List the factors: the paths of one axis are one factor; `axes` are the study's axes, as lists. */
export function factorsOf(table, axes) {
  const known = new Set(axes.flat());
  const all = [...axes, ...table.group_by.filter((path) => !known.has(path)).map((path) => [path])];
  return all
    .map((paths) => paths.filter((path) => table.group_by.includes(path)))
    .filter((paths) => paths.length)
    .map((paths) => ({ name: paths.join(", "), paths }))
    .map((factor) => ({ ...factor, values: distinct(table.rows.map((row) => placeOf(row, factor))) }));
}

/** Choose the initial factors: names as rows, numbers as columns. */
export function firstView(factors) {
  const varying = factors.filter((factor) => factor.values.length > 1);
  const some = varying.length ? varying : factors;
  const down = some.find((factor) => !isNumeric(factor.values.flatMap((v) => v.split(", ")))) || some[0];
  return { down, across: varying.find((factor) => factor !== down) || null };
}

/** The rows at the chosen values of all factors that the view does not show; in a panel, of one value of its factor. */
export class View {
  constructor(table, factors, { down, across, panels }, chosen, value = null) {
    this.down = down;
    this.across = across;
    this.panel = panels ? `${panels.name} = ${value}` : "";
    this.fixed = factors.filter((factor) => ![down, across, panels].includes(factor));
    this.chosen = new Map(this.fixed.map((factor) => [factor.name, valid(table, factor, chosen.get(factor.name))]));
    const here = table.rows.filter((row) => (!panels || placeOf(row, panels) === value) && this.fixed.every((f) => placeOf(row, f) === this.chosen.get(f.name)));
    this.rows = here;
    this.places = new Map(here.map((row) => [this.key(down && placeOf(row, down), across && placeOf(row, across)), row]));
    this.lines = down ? distinct(here.map((row) => placeOf(row, down))) : [""];
    this.columns = across ? distinct(here.map((row) => placeOf(row, across))) : [""];
  }

  key(line, column) {
    return JSON.stringify([line || "", column || ""]);
  }

  cell(line, column) {
    return this.places.get(this.key(line, column));
  }

  /** The colour of a line: the same in all panels. */
  hue(line) {
    return Math.max(0, this.down?.values.indexOf(line) ?? 0);
  }

  /** The factors of which a value must be chosen. */
  get open() {
    return this.fixed.filter((factor) => factor.values.length > 1);
  }

  /** Describe the selection: `optimizer.lr = 0.1`; empty if there was nothing to select. */
  get words() {
    return this.open.map((f) => `${f.name} = ${this.chosen.get(f.name)}`).join("; ");
  }

  /** The selection as the server understands it: `PATH=LABEL` for each path of each factor. */
  get where() {
    return this.open.flatMap((factor) => {
      const row = this.rows[0];
      return factor.paths.map((path) => `${path}=${row.labels[path]}`);
    });
  }
}

/** One view, or one for each value of the factor of panels. */
export function viewsOf(table, factors, shown, chosen) {
  if (!shown.panels) return [new View(table, factors, shown, chosen)];
  const all = shown.panels.values.map((value) => new View(table, factors, shown, chosen, value));
  return all.filter((view) => view.rows.length);
}

/** The selected value, if it still exists; otherwise the first value with results. */
function valid(table, factor, value) {
  if (factor.values.includes(value)) return value;
  return placeOf(table.rows.find((row) => row.n > 0) || table.rows[0], factor);
}
