// The values of the table of runs as text: numbers, moments, durations, means over seeds.
import { counted } from "./not_finite.js";
import { hasUnit, measured } from "./numbers.js";
import { moment } from "./times.js";

/** Write seconds as people say them: 42.5 s, 3 min 20 s, 2 h 5 min. */
export function duration(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${+seconds.toPrecision(3)} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Write a mean over seeds with half the width of its interval, how many seeds it has, and what it leaves out; the server knows the digits. */
export function mean(found) {
  const half = found.half_text ? ` ± ${found.half_text}` : "";
  const left = counted(Object.values(found.excluded));
  return `${found.mean_text}${half} (${[`n = ${found.n}`, left].filter(Boolean).join(", ")})`;
}

export function text(value, kind, name) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "object" && "varies" in value) return value.varies.length > 4 ? `${value.varies.length} values` : value.varies.map((v) => text(v, kind, name)).join(", ");
  if (typeof value === "object" && "mean" in value) return mean(value);
  if (kind === "moment") return moment(value);
  if (name === "duration" || name === "running_s") return duration(value);
  if (typeof value === "number") return Number.isInteger(value) && !hasUnit(name) ? String(value) : measured(name, value);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** The whole value, for one that is too long for its cell. */
export function whole(value, kind, name) {
  if (value !== null && typeof value === "object" && "varies" in value) return value.varies.join(", ");
  return text(value, kind, name);
}

/** The value by which a group is sorted: its mean, or its value. */
export const plain = (value) => (value !== null && typeof value === "object" ? value.mean ?? null : value);

/** Compare two values, those that are missing last in either direction. */
export function order(a, b, turned) {
  if (a === null || b === null) return (a === null) - (b === null);
  const found = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  return turned ? -found : found;
}
