// Curves to compare: their x by update, epoch, sample or time, smoothed, and seeds joined to bands.

/** Put a series on another axis; null, with the reason, if the run does not report that axis. */
export function along(series, run, axis) {
  const factors = { update: 1, epoch: 1 / run.updates_per_epoch, sample: run.samples_per_update };
  if (axis === "epoch" && !run.updates_per_epoch) return null;
  const xs = axis === "time" ? series.times.map((at) => at - series.times[0]) : series.steps.map((step) => step * factors[axis]);
  return { xs: increasing(xs), values: series.values, low: series.min ?? series.values, high: series.max ?? series.values };
}

/** A clock that was set back must not turn a curve around. */
function increasing(xs) {
  let most = -Infinity;
  return xs.map((x) => { most = Math.max(most, x); return most; });
}

/**
 * Smooth by an exponential mean whose start is not biased: s_i = w s_{i-1} + (1 - w) y_i, divided by 1 - w^i.
 * Values that are not finite are left out of it, and stay gaps.
 */
export function smoothed(values, weight) {
  if (!weight) return values;
  let sum = 0;
  let seen = 0;
  return values.map((value) => {
    if (value === null || value === undefined) return value;
    sum = weight * sum + (1 - weight) * value;
    seen += 1;
    return sum / (1 - weight ** seen);
  });
}

/** The value of a curve at *x*: the last point at or before it. */
function at(curve, x, from) {
  let i = from;
  while (i + 1 < curve.xs.length && curve.xs[i + 1] <= x) i += 1;
  return i;
}

/** Join the curves of one group to their mean and a band from the smallest to the largest, where all have values. */
export function joined(curves) {
  const some = curves.filter((curve) => curve.xs.length);
  if (!some.length) return null;
  if (some.length === 1) return some[0];
  const begin = Math.max(...some.map((curve) => curve.xs[0]));
  const end = Math.min(...some.map((curve) => curve.xs[curve.xs.length - 1]));
  const longest = some.reduce((a, b) => (b.xs.length > a.xs.length ? b : a));
  const xs = longest.xs.filter((x) => x >= begin && x <= end);
  const places = some.map(() => 0);
  const found = { xs, values: [], low: [], high: [], n: some.length };
  for (const x of xs) {
    const values = some.map((curve, k) => { places[k] = at(curve, x, places[k]); return curve.values[places[k]]; });
    const whole = values.every((value) => value !== null && value !== undefined);
    found.values.push(whole ? values.reduce((a, b) => a + b, 0) / values.length : null);
    found.low.push(whole ? Math.min(...values) : null);
    found.high.push(whole ? Math.max(...values) : null);
  }
  return found;
}

/** The range that leaves out outliers: 1.5 times the distance of the quartiles beyond them, as a box plot does. */
export function withoutOutliers(curves) {
  const values = curves.flatMap((curve) => curve.values).filter((v) => v !== null && v !== undefined).sort((a, b) => a - b);
  if (values.length < 8) return null;
  const quartile = (share) => values[Math.round(share * (values.length - 1))];
  const [low, high] = [quartile(0.25), quartile(0.75)];
  const beyond = 1.5 * (high - low);
  const kept = values.filter((v) => v >= low - beyond && v <= high + beyond);
  const [least, most] = [kept[0], kept[kept.length - 1]];
  const room = (most - least || Math.abs(most) || 1) * 0.05;
  return { range: [least - room, most + room], ignored: values.length - kept.length };
}

/** Align curves for uPlot: one column of x, and for each curve its value, low and high. */
export function aligned(curves) {
  const xs = [...new Set(curves.flatMap((curve) => curve.xs))].sort((a, b) => a - b);
  const place = new Map(xs.map((x, i) => [x, i]));
  const columns = [xs];
  for (const curve of curves) {
    for (const part of [curve.values, curve.low, curve.high]) {
      const column = new Array(xs.length).fill(undefined);
      part.forEach((value, i) => { column[place.get(curve.xs[i])] = value; });
      columns.push(column);
    }
  }
  return columns;
}
