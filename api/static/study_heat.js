// Heat maps of a study: means as colours, their spread, and their difference from a reference.
import { hasUnit, measured } from "./numbers.js";
import { isSignificant, said } from "./study_reference.js";
import { ends } from "./study_spread.js";
import { like, make, without } from "./study_table.js";

// One hue from light to dark: readable in grey and by colour-blind people.
const SCALE = [[247, 251, 255], [198, 219, 239], [107, 174, 214], [33, 113, 181], [8, 48, 107]];

function shade(share) {
  const place = Math.max(0, Math.min(1, share)) * (SCALE.length - 1);
  const i = Math.min(SCALE.length - 2, Math.floor(place));
  const mixed = SCALE[i].map((from, k) => Math.round(from + (SCALE[i + 1][k] - from) * (place - i)));
  return { background: `rgb(${mixed})`, ink: luminance(mixed) > 0.179 ? "#000000" : "#ffffff" }; // at least 4.5 to 1
}

/** The relative luminance of WCAG 2. */
function luminance(rgb) {
  const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Make the table of one *view*; *look* has the shared scale, the spread, and the comparison. */
export function heatMap(view, caption, look) {
  const grid = make("table", "", "heat");
  grid.append(make("caption", caption));
  const head = make("tr");
  const corner = [view.down?.name, view.across?.name].filter(Boolean).join(" \\ ");
  head.append(make("td", corner), ...view.columns.map((name) => heading(name || "mean", "col")));
  const thead = make("thead");
  thead.append(head);
  const body = make("tbody");
  for (const line of view.lines) {
    const tr = make("tr");
    tr.append(heading(line || "all seeds", "row"), ...view.columns.map((column) => cell(view.cell(line, column), look)));
    body.append(tr);
  }
  grid.append(thead, body);
  return grid;
}

function heading(name, scope) {
  const th = make("th", name);
  th.scope = scope;
  return th;
}

function cell(row, look) {
  if (!row) return make("td", "–");
  const td = make("td", row.mean_text || "–");
  if (row.mean !== null) {
    const { least, most } = look;
    const { background, ink } = shade(most > least ? (row.mean - least) / (most - least) : 0.5);
    td.style.background = background;
    td.style.color = ink;
    td.append(make("span", around(row, look), "spread"));
    if (look.found) td.append(compared(row, look));
  }
  if (without(row)) td.append(make("span", without(row), "spread"));
  return td;
}

function around(row, look) {
  const { spread } = look;
  const found = ends(row, spread);
  const count = `n\u00a0=\u00a0${row.n}`; // in one line
  if (!found) return count;
  if (spread === "range") return `${like(row, found[0])} to ${like(row, found[1])}, ${count}`;
  if (spread === "sd") return `sd ${hasUnit(look.metric) ? measured(look.metric, row.sd, 3) : Number(row.sd.toPrecision(2))}, ${count}`;
  return `± ${row.half_text}, ${count}`;
}

function compared(row, { found, isReference }) {
  if (isReference(row)) return make("span", "the reference", "spread");
  const difference = found(row);
  const words = said(difference);
  return make(isSignificant(difference) ? "strong" : "span", words, "spread");
}
