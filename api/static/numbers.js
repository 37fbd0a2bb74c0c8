// Numbers as people read them: few digits, and the unit that a metric's name ends with.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const STEP = 1024;
const [DIGITS, MOST_DIGITS] = [4, 15];

/** A number with few digits; a whole number, such as a seed or an update, keeps all its digits. */
export const readable = (value) => told(value, DIGITS);

function told(value, digits) {
  if (value === null || value === undefined) return "–";
  const short = rounded(value, digits);
  return Number.isSafeInteger(value) && Number(short) !== value ? String(value) : short;
}

function rounded(value, digits) {
  if (value !== 0 && (Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3)) return Number(value.toPrecision(digits - 1)).toExponential();
  return String(+value.toPrecision(digits));
}

/** How many there are of a thing: "1 cell", "1,200 cells". */
export const counted = (number, thing) => `${number.toLocaleString()} ${thing}${number === 1 ? "" : "s"}`;

/** The marks of an axis, with as many digits as distinguish them; none if a tick is null. */
export function marks(ticks, text = told) {
  const numbers = ticks.filter((t) => t !== null);
  let digits = DIGITS;
  while (digits < MOST_DIGITS && new Set(numbers.map((t) => text(t, digits))).size < numbers.length) digits += 1;
  return ticks.map((t) => (t === null ? "" : text(t, digits)));
}

const endsWith = (metric, unit) => metric.split(":")[0].endsWith(unit); // a reduction may follow
const isBytes = (metric) => endsWith(metric, "_bytes");
const isPercent = (metric) => endsWith(metric, "_percent");
export const hasUnit = (metric) => isBytes(metric) || isPercent(metric);

/** Marks of an axis of *metric*, with its unit. */
export const marksOf = (metric) => (u, ticks) => marks(ticks, (t, digits) => measured(metric, t, digits));

/** Format a value of *metric*, or of *metric:reduction*, with its unit, if its name says one. */
export function measured(metric, value, digits = DIGITS) {
  if (value === null || value === undefined) return "–";
  if (isPercent(metric)) return `${+value.toPrecision(digits - 1)} %`;
  if (!isBytes(metric)) return told(value, digits);
  const size = Math.abs(value);
  const power = size < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(size) / 10));
  return `${+(value / STEP ** power).toPrecision(digits - 1)} ${UNITS[power]}`;
}

/** The bytes of a unit; 1 if it is none. */
export const bytesOf = (unit) => STEP ** Math.max(0, UNITS.indexOf(unit));

/** What the axis of *metric* needs for steps that are round in its unit. */
export const incrementsOf = (metric) => (isBytes(metric) ? { incrs: [...Array(44).keys()].map((power) => 2 ** power) } : {});
