// What the table of runs shows: columns, order, filter and grouping, in the address of the page.

const USUAL = {
  columns: ["name", "state", "normalizer", "batch_size", "optimizer.lr", "seed",
    "val/accuracy", "val/accuracy:best", "train/loss", "study", "owner", "duration", "created_at"],
  pinned: ["name"],
  sort: "-created_at",
  filter: "",
  grouped: false,
};
const REDUCTIONS = ["last", "best", "min", "max", "mean"];

export const usual = () => structuredClone(USUAL);

/** Read the state that an address describes; null if it describes none. */
export function fromAddress(search) {
  const given = new URLSearchParams(search);
  if (!["column", "filter", "sort", "grouped"].some((name) => given.has(name))) return null;
  const state = usual();
  if (given.has("column")) {
    state.columns = [...new Set(given.getAll("column"))];
    state.pinned = given.getAll("pinned");
  }
  state.sort = given.get("sort") ?? state.sort;
  state.filter = given.get("filter") ?? "";
  state.grouped = given.get("grouped") === "1";
  return state;
}

/** Write the address of a state: its view if it shows one, otherwise what differs from the defaults. */
export function toAddress(state, view) {
  const query = new URLSearchParams();
  if (view && ["columns", "pinned", "sort", "filter", "grouped"].every((part) => JSON.stringify(content(state)[part]) === JSON.stringify(view.content[part]))) {
    return `${location.pathname}?view=${view.id}`;
  }
  const start = usual();
  if (JSON.stringify([state.columns, state.pinned]) !== JSON.stringify([start.columns, start.pinned])) {
    for (const name of state.columns) query.append("column", name);
    for (const name of state.pinned) query.append("pinned", name);
  }
  if (state.sort !== start.sort) query.set("sort", state.sort);
  if (state.filter) query.set("filter", state.filter);
  if (state.grouped) query.set("grouped", "1");
  const text = query.toString();
  return location.pathname + (text ? `?${text}` : "");
}

/** The state as a view is stored. */
export const content = (state) => ({ ...state, filter: state.filter || null });

export const fromView = (stored) => ({ ...stored, filter: stored.filter ?? "" });

/** Pinned columns first, each part in its order. */
export function ordered(state) {
  const pinned = state.columns.filter((name) => state.pinned.includes(name));
  return [...pinned, ...state.columns.filter((name) => !state.pinned.includes(name))];
}

/** Divide val/accuracy:best into the metric and the reduction; null if it is no metric. */
export function metricOf(name) {
  const at = name.lastIndexOf(":");
  const reduction = at > 0 && REDUCTIONS.includes(name.slice(at + 1)) ? name.slice(at + 1) : "";
  const metric = reduction ? name.slice(0, at) : name;
  return metric.includes("/") ? { metric, reduction: reduction || "last" } : null;
}

export const reductions = REDUCTIONS;
