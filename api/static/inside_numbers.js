// The numbers of the pictures as tables.
import { readable } from "./charts.js";
import { epochs } from "./inside_runs.js";

const MOST_COLUMNS = 24;

function cell(tag, text, scope) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (scope) made.scope = scope;
  return made;
}

/** A table with *head*, and *rows* whose first cell is their name. */
export function table(caption, head, rows) {
  const made = document.createElement("table");
  const title = document.createElement("caption");
  title.textContent = caption;
  const [thead, tbody] = [document.createElement("thead"), document.createElement("tbody")];
  const top = document.createElement("tr");
  top.append(...head.map((text) => cell("th", text, "col")));
  thead.append(top);
  tbody.append(...rows.map(([name, ...values]) => {
    const row = document.createElement("tr");
    row.append(cell("th", name, "row"), ...values.map((value) => cell("td", value)));
    return row;
  }));
  made.append(title, thead, tbody);
  return made;
}

/** Layers by epochs, at most MOST_COLUMNS of them, evenly chosen, the last one always. */
export function ofMatrix(caption, matrix) {
  const { times, sites, values } = matrix;
  const each = Math.ceil(times.length / MOST_COLUMNS);
  const columns = times.map((_, i) => i).filter((i) => (times.length - 1 - i) % each === 0);
  const head = ["layer", ...columns.map((i) => `epoch ${epochs(times[i])}`)];
  return table(caption, head, sites.map((site, r) => [site || "network", ...columns.map((i) => readable(values[r][i]))]));
}

export function ofLayers(label, layers) {
  const head = ["layer", "type", "input", "output", "parameters", "state", "multiplications", "values", "after"];
  const number = (value) => value.toLocaleString("en");
  return table(`Layers of ${label}`, head, layers.map((layer) => [
    layer.name, layer.type, layer.input.join(" × "), layer.output.join(" × "), number(layer.parameters), number(layer.state),
    number(layer.products), number(layer.values), layer.after.map((i) => layers[i].name).join(", ") || "the sample",
  ]));
}
