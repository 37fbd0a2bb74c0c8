// NaN and infinity, which JSON does not have: a record has null for them, and names them in `not_finite`.

/** The name of the number in place of null at *pointer* of *record*; undefined if there is none. */
export const nameAt = (record, pointer) => record.not_finite?.[pointer];

/** Put NaN and infinity into the `values` of a *record*, whatever its other fields are. */
export function whole(record) {
  for (const [pointer, name] of Object.entries(record.not_finite ?? {})) {
    const path = pointer.split("/").slice(1);
    const last = path.pop();
    path.reduce((inner, part) => inner[part], record)[last] = Number(name);
  }
  return record;
}

/** Say how often each of *names* is there: "1 NaN, 2 Infinity". */
export function counted(names) {
  const counts = new Map();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].map(([name, count]) => `${count} ${name}`).join(", ");
}

/** What a chart draws of *values*: a gap where one is not finite. */
export const drawable = (values) => values.map((value) => (value === undefined || Number.isFinite(value) ? value : null));
