// Learning curves of a study: for each row the mean over its seeds, at updates that all seeds have.
import { ask, computed } from "./app.js";

const MOST_JOBS = 100; // in one request to the server
const MOST_POINTS = 500; // the same on every screen, so that a curve has the same numbers everywhere

/** Keep the jobs that enter the mean: failed, cancelled and pruned jobs have no value in the table either. */
const taken = (row) => Object.entries(row?.jobs || {})
  .filter(([seed]) => ["succeeded", "running"].includes(row.states[seed])).map(([, job]) => job);

/** Load the curves of *lines*, {label, hue, row}; only whole rows, as many as fit into one request. */
export async function gather(metric, lines) {
  const started = lines.map(({ row, ...line }) => ({ ...line, jobs: taken(row) })).filter((line) => line.jobs.length);
  const groups = [];
  let jobs = 0;
  for (const line of started) {
    if (jobs + line.jobs.length > MOST_JOBS && groups.length) break;
    groups.push({ ...line, jobs: line.jobs.slice(0, MOST_JOBS) });
    jobs += line.jobs.length;
  }
  const found = await series(metric, groups.flatMap((group) => group.jobs));
  const curves = await Promise.all(groups.map(async (group) => {
    const list = await together(metric, group.jobs, group.jobs.map((job) => found.get(job)));
    return { label: `${group.label} (n = ${list.length})`, hue: group.hue, ...overSeeds(list) };
  }));
  return { curves: curves.filter((curve) => curve.steps.length), left: started.length - groups.length };
}

async function series(metric, jobs, to) {
  if (!jobs.length) return new Map();
  const asked = new URLSearchParams({ name: metric, max_points: MOST_POINTS, times: false });
  if (to !== undefined) asked.set("to_step", to);
  for (const job of jobs) asked.append("job", job);
  const found = await computed(() => ask(`/v1/series?${asked}`));
  return new Map(jobs.map((job, i) => [job, found[i]]));
}

/** Make buckets cover the same updates: if a seed is behind the others, load only what all seeds have. */
async function together(metric, jobs, list) {
  const some = list.filter((s) => s.steps.length);
  const ends = some.map((s) => s.last.step);
  const first = Math.min(...ends);
  if (!some.some((s) => s.min) || ends.every((end) => end === first)) return some;
  return [...(await series(metric, jobs, first)).values()].filter((s) => s.steps.length);
}

/** Mean, smallest and largest over seeds, at the steps of the first seed; other seeds give their last value before it. */
export function overSeeds(list) {
  if (!list.length) return { steps: [], values: [], min: [], max: [] };
  const last = Math.min(...list.map((s) => s.steps[s.steps.length - 1]));
  const steps = list[0].steps.filter((step) => step <= last && list.every((s) => s.steps[0] <= step));
  const at = (s, step) => {
    const i = s.steps.findIndex((x) => x > step);
    return i < 0 ? s.steps.length - 1 : i - 1;
  };
  const columns = steps.map((step) => list.map((s) => [s, at(s, step)]));
  // a mean is over all seeds: if one value is not finite, there is a gap
  const over = (column, pick, sum) => {
    const values = column.map(([s, i]) => pick(s)[i]);
    return values.some((v) => v === null) ? null : sum(values);
  };
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  return {
    steps,
    values: columns.map((c) => over(c, (s) => s.values, mean)),
    min: columns.map((c) => over(c, (s) => s.min || s.values, (v) => Math.min(...v))),
    max: columns.map((c) => over(c, (s) => s.max || s.values, (v) => Math.max(...v))),
    bucketed: list.some((s) => s.min),
  };
}
