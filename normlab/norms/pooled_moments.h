// Mixtures of pooled moments: from the moments of rows (a row is one channel of one sample) to what
// normalizes them. All of it has one value a row, and is computed in double.

#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <tuple>
#include <utility>
#include <vector>

namespace normlab {

using at::Tensor;
using Values = std::vector<double>;

// How y is made of the moments, apart from tensors.
struct Recipe {
  std::vector<int64_t> pools;  // three numbers each: see Union
  double eps = 0;
  double r_least = 1;          // of batch renormalization
  double r_limit = 1;
  double d_limit = 0;
  bool eps_outside = false;    // sigma = sqrt(V) + eps
  double gain = 1;             // of streaming: M = gain * M_1 + base
  double share = 1;            // of the recent gradient
  bool unbiased = false;       // the variance that is handed out

  Values numbers() const {
    return {eps, r_least, r_limit, d_limit, eps_outside ? 1.0 : 0.0, gain, share};
  }
  static Recipe of(std::vector<int64_t> pools, const Values& v) {
    return {std::move(pools), v[0], v[1], v[2], v[3], v[4] != 0, v[5], v[6]};
  }
};

// Tensors that are constants for the gradient, and state that it moves; each may be undefined.
struct Constants {
  Tensor mu, sigma;  // (C,) of batch renormalization
  Tensor base;       // (2, C) of streaming
  // Of streaming, as they are in the layer when backward runs: the recent and the long gradient,
  // (2, C), and the counts of gradients and of batches.
  std::vector<Tensor> state;
};

inline Values values_of(const Tensor& t) {
  if (!t.defined()) return {};
  const Tensor wide = t.detach().to(at::kDouble).contiguous();
  const double* data = wide.data_ptr<double>();
  return Values(data, data + wide.numel());
}

// The rows that are merged: *samples* in turn, with *block* channels in turn or every
// *strided*-th one.
struct Union {
  int64_t count;
  std::vector<int64_t> of;  // of each row

  Union(const int64_t* pool, int64_t n, int64_t c) : of(n * c) {
    const int64_t samples = pool[0], block = pool[1], strided = pool[2];
    const int64_t wide = strided > 0 ? strided : c / block;
    count = (n + samples - 1) / samples * wide;
    for (int64_t i = 0, row = 0; i < n; ++i)
      for (int64_t j = 0; j < c; ++j, ++row)
        of[row] = i / samples * wide + (strided > 0 ? j % strided : j / block);
  }

  Values add(const Values& rows) const {
    Values total(count);
    for (size_t i = 0; i < of.size(); ++i) total[of[i]] += rows[i];
    return total;
  }
};

struct Moments {
  Values mean, var;
};

struct Pool {
  Union rows;
  Values size;
  Moments moments;

  Pool(const int64_t* pool, int64_t n, int64_t c, const Moments& own) : rows(pool, n, c) {
    size = rows.add(Values(n * c, 1.0));
    moments.mean = rows.add(own.mean);
    for (int64_t k = 0; k < rows.count; ++k) moments.mean[k] /= size[k];
    Values about(n * c);
    for (size_t i = 0; i < about.size(); ++i) {
      const double off = own.mean[i] - moments.mean[rows.of[i]];
      about[i] = own.var[i] + off * off;
    }
    moments.var = rows.add(about);
    for (int64_t k = 0; k < rows.count; ++k) moments.var[k] /= size[k];
  }

  // Hand the gradients of its moments, one a union, to the rows'.
  void spread(const Values& dmean, const Values& dvar, const Moments& own, Moments& grad) const {
    for (size_t i = 0; i < rows.of.size(); ++i) {
      const int64_t k = rows.of[i];
      const double off = own.mean[i] - moments.mean[k];
      grad.mean[i] += (dmean[k] + 2 * off * dvar[k]) / size[k];
      grad.var[i] += dvar[k] / size[k];
    }
  }
};

// Merge each channel with the one *step* away; share is 0 or 1/2 (see meta.py).
inline Moments turn(const Moments& own, int64_t step, double share) {
  Moments out = own;
  for (size_t i = 0; i < own.mean.size(); ++i) {
    const size_t j = i / step % 2 == 0 ? i + step : i - step;
    const double apart = own.mean[j] - own.mean[i];
    out.mean[i] += share * apart;
    out.var[i] += share * (own.var[j] - own.var[i]) + share * (1 - share) * apart * apart;
  }
  return out;
}

// Replace the gradients after a turn by those before it; return that of its share.
inline double turn_back(const Moments& own, int64_t step, double share, Moments& grad) {
  const Moments g = grad;
  double dshare = 0;
  for (size_t i = 0; i < own.mean.size(); ++i) {
    const size_t j = i / step % 2 == 0 ? i + step : i - step;
    const double apart = own.mean[j] - own.mean[i];
    dshare += g.mean[i] * apart;
    dshare += g.var[i] * (own.var[j] - own.var[i] + (1 - 2 * share) * apart * apart);
    const double pull = 2 * share * (1 - share) * apart * (g.var[i] + g.var[j]);
    grad.mean[i] = (1 - share) * g.mean[i] + share * g.mean[j] - pull;
    grad.var[i] = (1 - share) * g.var[i] + share * g.var[j];
  }
  return dshare;
}

inline double share_of(double gate) { return gate > 0 ? 0.5 : 0.0; }

// What both passes need of the moments; one value a row.
struct Solution {
  int64_t n, c;
  const Recipe& recipe;
  Values gates, p, q;
  std::vector<Moments> turns;  // before each turn, and after the last
  std::vector<Pool> pools;
  Moments mixed;
  Values inverse, slope;  // 1 / sigma, and its derivative for V
  Values r, d;

  Solution(const Tensor& moments, const Recipe& recipe, const Constants& constants, const Tensor& p,
           const Tensor& q, const Tensor& gates)
      : n(moments.size(1)), c(moments.size(2)), recipe(recipe), gates(values_of(gates)),
        p(values_of(p)), q(values_of(q)) {
    const Values both = values_of(moments);
    const size_t rows = n * c;
    turns.push_back({Values(both.begin(), both.begin() + rows),
                     Values(both.begin() + rows, both.end())});
    for (size_t k = 0; k < this->gates.size(); ++k)
      turns.push_back(turn(turns.back(), step(k), share_of(this->gates[k])));
    for (size_t k = 0; k < recipe.pools.size(); k += 3)
      pools.emplace_back(&recipe.pools[k], n, c, turns.back());
    if (this->p.empty()) this->p.assign(pools.size(), 1.0);
    if (this->q.empty()) this->q.assign(pools.size(), 1.0);
    mix(values_of(constants.base));
    divide();
    renormalize(values_of(constants.mu), values_of(constants.sigma));
  }

  int64_t step(size_t gate) const { return c >> (gate + 1); }

  void mix(const Values& base) {
    mixed = {Values(n * c), Values(n * c)};
    for (size_t k = 0; k < pools.size(); ++k) {
      for (int64_t i = 0; i < n * c; ++i) {
        mixed.mean[i] += p[k] * recipe.gain * pools[k].moments.mean[pools[k].rows.of[i]];
        mixed.var[i] += q[k] * recipe.gain * pools[k].moments.var[pools[k].rows.of[i]];
      }
    }
    if (base.empty()) return;
    for (int64_t i = 0; i < n * c; ++i) {
      mixed.mean[i] += base[i % c];
      mixed.var[i] += base[c + i % c];
    }
  }

  void divide() {
    inverse.resize(n * c);
    slope.resize(n * c);
    for (int64_t i = 0; i < n * c; ++i) {
      if (recipe.eps_outside) {
        const double root = std::sqrt(std::max(mixed.var[i], 1e-30));
        inverse[i] = 1 / (root + recipe.eps);
        slope[i] = mixed.var[i] < 1e-30 ? 0 : -0.5 * inverse[i] * inverse[i] / root;
        if (std::isnan(mixed.var[i])) inverse[i] = slope[i] = mixed.var[i];
      } else {
        inverse[i] = 1 / std::sqrt(mixed.var[i] + recipe.eps);
        slope[i] = -0.5 * inverse[i] * inverse[i] * inverse[i];
      }
    }
  }

  void renormalize(const Values& mu, const Values& sigma) {
    r.assign(n * c, 1.0);
    d.assign(n * c, 0.0);
    if (mu.empty()) return;
    for (int64_t i = 0; i < n * c; ++i) {
      const double s = sigma[i % c], limit = recipe.d_limit;
      r[i] = clip(1 / (inverse[i] * s), recipe.r_least, recipe.r_limit);
      d[i] = clip((mixed.mean[i] - mu[i % c]) / s, -limit, limit);
    }
  }

  static double clip(double value, double low, double high) {
    return value < low ? low : value > high ? high : value;  // a NaN stays
  }

  // The mean over the samples of the last pool's moments, or of sigma for its variance.
  // A variance is made unbiased in its own union, of *positions* values a row.
  std::tuple<Tensor, Tensor> statistics(const at::TensorOptions& options, bool sigma,
                                        int64_t positions) const {
    double values = positions;  // of each row, with the rows that gates merged into it
    for (const double gate : gates) values *= gate > 0 ? 2 : 1;
    Tensor found = at::zeros({2, c}, options.dtype(at::kDouble));
    double *mean = found.data_ptr<double>(), *var = mean + c;
    const Pool& last = pools.back();
    for (int64_t i = 0; i < n * c; ++i) {
      const int64_t k = last.rows.of[i];
      const double count = last.size[k] * values;
      const double factor = recipe.unbiased ? count / (count - 1) : 1;
      mean[i % c] += last.moments.mean[k] / n;
      var[i % c] += (sigma ? 1 / inverse[i] : last.moments.var[k] * factor) / n;
    }
    const Tensor narrow = found.to(options);
    return {narrow[0], narrow[1]};
  }
};

}  // namespace normlab
