// Mixtures of pooled moments: from the moments of rows (a row is one channel of one sample) to the
// numbers that normalize them, in double, sample after sample so that they stay in the cache.

#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>
#include <vector>

#include "channel_gates.h"
#include "fused_rows.h"
#include "inverse_roots.h"
#include "pooled_unions.h"

namespace normlab {

using at::Tensor;

// How y is computed from the moments, without the tensors.
struct Recipe {
  std::vector<int64_t> pools;     // three numbers each: see Union
  std::vector<double> p, q;       // the pools' ratios in M and in V; empty: all are 1
  std::vector<double> of_p, of_q; // their derivatives for each logit, one ratio after another
  double eps = 0;
  double r_least = 1;          // for batch renormalization
  double r_limit = 1;
  double d_limit = 0;
  bool eps_outside = false;    // sigma = sqrt(V) + eps
  double gain = 1;             // for streaming: M = gain * M_1 + base
  double share = 1;            // the share of the recent gradient
  bool about_zero = false;     // M = 0, and V is the mean square; not for unions of one row
  bool unbiased = false;       // whether the returned variance is unbiased

  template <typename Saved>
  void save(Saved& saved) const {
    const double outside = eps_outside;
    saved["pools"] = pools;
    saved["p"] = p, saved["q"] = q, saved["of_p"] = of_p, saved["of_q"] = of_q;
    saved["numbers"] =
        std::vector<double>{eps, r_least, r_limit, d_limit, outside, gain, share, about_zero * 1.0};
  }
  template <typename Saved>
  static Recipe of(Saved& saved) {
    const auto list = [&](const char* name) { return saved[name].toDoubleVector(); };
    const std::vector<double> v = list("numbers");
    return {saved["pools"].toIntVector(), list("p"), list("q"), list("of_p"), list("of_q"),
            v[0], v[1], v[2], v[3], v[4] != 0, v[5], v[6], v[7] != 0};
  }
  double sigma(double var) const {  // a NaN stays
    return eps_outside ? std::sqrt(var < 1e-30 ? 1e-30 : var) + eps : std::sqrt(var + eps);
  }
};

// Tensors that are constants for the gradient, and state that it changes; each may be undefined.
struct Constants {
  Tensor mu, sigma;  // (C,), for batch renormalization
  Tensor base;       // (2, C), for streaming
  // For streaming, as the layer has them when backward runs: the recent and the long-term gradient,
  // (2, C), and the numbers of gradients and of batches.
  std::vector<Tensor> state;
};

inline Values values_of(const Tensor& t) {
  if (!t.defined()) return {};
  const Tensor whole = t.contiguous();
  if (whole.scalar_type() == at::kFloat) {
    const float* data = whole.data_ptr<float>();
    return Values(data, data + whole.numel());
  }
  const Tensor wide = whole.detach().to(at::kDouble);
  const double* data = wide.data_ptr<double>();
  return Values(data, data + wide.numel());
}

// Fewer calls of torch than its own check.
inline bool all_finite(const double* values, int64_t count) {
  return std::all_of(values, values + count, [](double v) { return std::isfinite(v); });
}

// What normalizes one sample, for each channel: y = weight * (r (x - mean) inverse + d) + bias.
struct Line {
  Values mean, var, inverse;  // 1 / sigma
  Values slope, r, d;         // for batch renormalization; slope is the derivative of inverse by V

  explicit Line(int64_t c) : mean(c), var(c), inverse(c), slope(c), r(c, 1.0), d(c) {}
};

// What both passes need from the moments.
template <typename T>
struct Solution {
  int64_t n, c;
  const Recipe& recipe;
  Values gates, p, q, mu, sigma, base;
  Rows<T> own;    // moments of the rows
  Tensor pooled;  // the moments of all pools
  std::vector<Pool> pools;
  int64_t chunk;  // number of samples that fill whole unions

  // *known* are the moments of the pools, if another solution has computed them.
  Solution(int64_t n, int64_t c, const Rows<T>& own, const Recipe& recipe,
           const Constants& constants, const Tensor& gates, const Tensor& known)
      : n(n), c(c), recipe(recipe), gates(values_of(gates)), p(recipe.p.begin(), recipe.p.end()),
        q(recipe.q.begin(), recipe.q.end()), mu(values_of(constants.mu)), sigma(values_of(constants.sigma)),
        base(values_of(constants.base)), own(own), pooled(known) {
    lay_out();
    if (this->p.empty()) this->p.assign(pools.size(), 1.0);
    if (this->q.empty()) this->q.assign(pools.size(), 1.0);
    if (!known.defined()) pool_all();
  }

  // Fills *line* for sample i, after that of the sample before it.
  void solve(int64_t i, Line& line) const {
    const auto goes_on = [i](const Pool& pool) { return i % pool.rows.samples != 0; };
    if (std::all_of(pools.begin(), pools.end(), goes_on)) return;  // the unions are the same
    mix(i, line.mean.data(), line.var.data());
    divide(line.var.data(), line.inverse.data(), line.slope.data());
    if (!mu.empty()) renormalize(line);
  }

  bool are_finite() const {
    return all_finite(base.data(), base.size()) &&
           all_finite(pooled.template data_ptr<double>(), pooled.numel());
  }

  // The mean over the samples of the last pool's moments, or of sigma for its variance.
  // A variance is made unbiased within its own union, with *positions* values per row.
  std::tuple<Tensor, Tensor> statistics(const at::TensorOptions& options, int64_t positions) const {
    double values = positions;  // in each row, with the rows that gates merged into it
    for (const double gate : gates) values *= gate > 0 ? 2 : 1;
    Tensor found = at::zeros({2, c}, options.dtype(at::kDouble));
    double *mean = found.data_ptr<double>(), *var = mean + c;
    const Pool& last = pools.back();
    const double *m = last.mean, *v = last.var;
    for (int64_t i = 0; i < n; i += last.rows.samples) {
      const double merged = static_cast<double>(std::min(last.rows.samples, n - i));
      const double share = merged / n, count = merged * (c / last.rows.wide) * values;
      const double of_var = recipe.unbiased ? share * count / (count - 1) : share;
      const bool root = !mu.empty();
      last.rows.each(i, [=](int64_t k) {
        const double mk = share * m[k], vk = of_var * (root ? recipe.sigma(v[k]) : v[k]);
        return [=](int64_t j) {
          mean[j] += mk;
          var[j] += vk;
        };
      });
    }
    const Tensor narrow = found.to(options);
    return {narrow[0], narrow[1]};
  }

 private:
  void lay_out() {
    int64_t size = 0, most = 1;
    for (size_t k = 0; k < recipe.pools.size(); k += 3) {
      const Union rows(&recipe.pools[k], n, c);
      most = std::max(most, std::min(n, rows.samples));
      size += 2 * rows.count;
      pools.push_back({rows, nullptr, nullptr});
    }
    chunk = most;
    if (!pooled.defined()) pooled = at::zeros({size}, at::TensorOptions(at::kDouble));
    double* from = pooled.data_ptr<double>();
    for (Pool& pool : pools) {
      pool.mean = from;
      pool.var = from + pool.rows.count;
      from += 2 * pool.rows.count;
    }
  }

  void pool_all() {
    GatedChannels<T> channels(gates, c);
    Moments rows((gates.empty() ? 1 : chunk) * c);
    for (int64_t start = 0; start < n; start += chunk)
      pool(start, std::min(chunk, n - start), channels, rows);
  }

  // Fills the pools of *samples* from *start* on, in whole unions.
  void pool(int64_t start, int64_t samples, GatedChannels<T>& channels, Moments& rows) {
    const auto place = [&](int64_t l) {  // the place of a sample's moments among *rows*
      if (!gates.empty()) return l * c;
      own.read(start + l, rows.mean.data(), rows.var.data());
      return int64_t(0);
    };
    if (!gates.empty())
      for (int64_t l = 0; l < samples; ++l)
        channels.merge(own.first_of(start + l), own.second_of(start + l), &rows.mean[l * c],
                    &rows.var[l * c]);
    for (int64_t l = 0; l < samples && !recipe.about_zero; ++l) {
      const int64_t at = place(l);
      for (Pool& pool : pools) pool.add_mean(start + l, &rows.mean[at]);
    }
    for (Pool& pool : pools) pool.divide(start, samples, pool.mean);
    for (int64_t l = 0; l < samples; ++l) {
      const int64_t at = place(l);
      for (Pool& pool : pools) pool.add_about(start + l, &rows.mean[at], &rows.var[at]);
    }
    for (Pool& pool : pools) pool.divide(start, samples, pool.var);
  }

  void mix(int64_t i, double* mean, double* var) const {
    double of_mean = 0, of_var = 0;  // for unions of whole samples: the same for all channels
    bool begun = false;
    for (size_t k = 0; k < pools.size(); ++k) {
      if (pools[k].rows.wide > 1) continue;
      of_mean += part(k).mean(i / pools[k].rows.samples);
      of_var += part(k).var(i / pools[k].rows.samples);
    }
    if (!base.empty()) begun = begin_with_base(of_mean, of_var, mean, var);
    for (size_t k = 0; k < pools.size(); ++k) {
      if (pools[k].rows.wide == 1) continue;
      begun ? add(k, i, mean, var) : begin(k, i, of_mean, of_var, mean, var);
      begun = true;
    }
    if (begun) return;
    std::fill(mean, mean + c, of_mean);
    std::fill(var, var + c, of_var);
  }

  bool begin_with_base(double of_mean, double of_var, double* mean, double* var) const {
    const double *m = base.data(), *v = m + c;
    INDEPENDENT
    for (int64_t j = 0; j < c; ++j) {
      mean[j] = m[j] + of_mean;
      var[j] = v[j] + of_var;
    }
    return true;
  }

  void begin(size_t k, int64_t i, double of_mean, double of_var, double* mean, double* var) const {
    const Part first = part(k);
    pools[k].rows.each(i, [=](int64_t u) {
      const double mu = of_mean + first.mean(u), vu = of_var + first.var(u);
      return [=](int64_t j) {
        mean[j] = mu;
        var[j] = vu;
      };
    });
  }

  void add(size_t k, int64_t i, double* mean, double* var) const {
    const Part next = part(k);
    pools[k].rows.each(i, [=](int64_t u) {
      const double mu = next.mean(u), vu = next.var(u);
      return [=](int64_t j) {
        mean[j] += mu;
        var[j] += vu;
      };
    });
  }

  // What a pool contributes to the mixture.
  struct Part {
    double p, q;
    const double *m, *v;
    double mean(int64_t u) const { return p * m[u]; }
    double var(int64_t u) const { return q * v[u]; }
  };

  Part part(size_t k) const {
    return {p[k] * recipe.gain, q[k] * recipe.gain, pools[k].mean, pools[k].var};
  }

  void divide(const double* var, double* inverse, double* slope) const {
    const double eps = recipe.eps;
    if (recipe.eps_outside) {
      INDEPENDENT
      for (int64_t j = 0; j < c; ++j) {
        const double root = std::sqrt(var[j] < 1e-30 ? 1e-30 : var[j]);  // a NaN stays
        inverse[j] = 1 / (root + eps);
        slope[j] = var[j] < 1e-30 ? 0 : -0.5 * inverse[j] * inverse[j] / root;
      }
      return;
    }
    inverse_roots(var, eps, inverse, c, T());
    if (mu.empty()) return;
    INDEPENDENT
    for (int64_t j = 0; j < c; ++j) slope[j] = -0.5 * inverse[j] * inverse[j] * inverse[j];
  }

  void renormalize(Line& line) const {
    const double least = recipe.r_least, most = recipe.r_limit, limit = recipe.d_limit;
    const double *mean = line.mean.data(), *inverse = line.inverse.data();
    const double *m = mu.data(), *s = sigma.data();
    double *r = line.r.data(), *d = line.d.data();
    INDEPENDENT
    for (int64_t j = 0; j < c; ++j) {
      r[j] = clip(1 / (inverse[j] * s[j]), least, most);
      d[j] = clip((mean[j] - m[j]) / s[j], -limit, limit);
    }
  }

  static double clip(double value, double low, double high) {
    return value < low ? low : value > high ? high : value;  // a NaN stays
  }
};

}  // namespace normlab
