// The spread that is drawn around a mean, and the range of an axis; the same as in normlab/presentation/spreads.py.

const FEW = 2; // seeds, with which Student's interval is 12.7 standard errors wide to each side
const MARGIN = 0.06;

/** The choice "t" or "bootstrap" is an interval of the server; the others are computed from its numbers. */
export const intervalOf = (choice) => (choice === "bootstrap" ? "bootstrap" : "t");
export const spreadOf = (choice) => (["t", "bootstrap"].includes(choice) ? "interval" : choice);

const isWide = (row, spread) => spread === "interval" && row.n === FEW;

/** The lower and the upper end, or null where there is nothing to draw. */
export function ends(row, spread) {
  if (!row || row.mean === null || row.n < FEW || spread === "none") return null;
  if (spread === "range") return [Math.min(...Object.values(row.values)), Math.max(...Object.values(row.values))];
  if (spread === "sd") return row.sd === null ? null : [row.mean - row.sd, row.mean + row.sd];
  return row.low === null || row.high === null ? null : [row.low, row.high];
}

/** The range of an axis: every seed and the spread around means, except for intervals of two seeds. */
export function reach(rows, spread) {
  const numbers = rows.flatMap((row) => [...Object.values(row.values), ...(row.mean === null ? [] : [row.mean])]);
  for (const row of rows) if (ends(row, spread) && !isWide(row, spread)) numbers.push(...ends(row, spread));
  if (!numbers.length) return null;
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  const margin = MARGIN * (high - low) || Math.abs(high) * MARGIN || MARGIN;
  return [low - margin, high + margin];
}

/** Say which intervals are cut at the edge of the picture, and what helps. */
export function note(rows, spread) {
  const view = reach(rows, spread);
  const few = rows.filter((row) => isWide(row, spread) && ends(row, spread)).map((row) => ends(row, spread));
  const count = few.filter(([low, high]) => low < view[0] || high > view[1]).length;
  if (!count) return "";
  return `${count === 1 ? "1 interval of two seeds is" : `${count} intervals of two seeds are`} cut at the edge; a third seed would narrow ${count === 1 ? "it" : "them"}.`;
}

export const WORDS = {
  t: "half width of the 95 % interval (Student's t)", bootstrap: "half width of the 95 % interval (bootstrap)",
  sd: "standard deviation", range: "smallest to largest seed", none: "",
};
