// Numbers as people read them: few digits, and the unit that a metric's name ends with.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const STEP = 1024;

export function readable(value) {
  if (value === null || value === undefined) return "–";
  if (value !== 0 && (Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3)) return Number(value.toPrecision(3)).toExponential();
  return String(+value.toPrecision(4));
}

/** Format a value of *metric* with its unit, if its name says one. */
export function measured(metric, value) {
  if (value === null || value === undefined) return "–";
  if (metric.endsWith("_percent")) return `${+value.toPrecision(3)} %`;
  if (!metric.endsWith("_bytes")) return readable(value);
  const power = value < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(value) / 10));
  return `${+(value / STEP ** power).toPrecision(3)} ${UNITS[power]}`;
}

/** What the axis of *metric* needs for steps that are round in its unit. */
export const incrementsOf = (metric) => (metric.endsWith("_bytes") ? { incrs: [...Array(44).keys()].map((power) => 2 ** power) } : {});
