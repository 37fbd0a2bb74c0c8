// The gradients of normalizers that divide by a mixture of pooled moments: the gradients of
// everything that has at most one value per channel, and the map to the gradient of the data.
// pooled_moments.h has the forward pass.

#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "pooled_moments.h"

namespace normlab {

// Three numbers of each row, for one pass over the data.
template <typename T>
struct Map {
  int64_t rows;
  std::unique_ptr<T[]> a, b, c;
  explicit Map(int64_t rows) : rows(rows), a(new T[rows]), b(new T[rows]), c(new T[rows]) {}
};

// The gradient of the batch's moments is averaged with its own past, as in streaming.py. A gradient
// that is not finite, or whose moments were not, is used but not kept.
template <typename T>
void stream(Values& dmean, Values& dvar, const Constants& constants, double share, bool sound) {
  const int64_t c = dmean.size();
  Tensor recent = constants.state[0], gradients = constants.state[2];
  const Values before = values_of(recent), past = values_of(constants.state[1]);
  const double count = gradients.item<double>();
  if (constants.state[3].item<int64_t>() == 0) share = 1;
  const Tensor kept = at::empty({2, c}, recent.options());
  T* next = kept.data_ptr<T>();
  Values used(2 * c);
  for (int64_t j = 0; j < 2 * c; ++j) {
    const double now = j < c ? dmean[j] : dvar[j - c];
    next[j] = static_cast<T>((before[j] * count + now) / (count + 1));
    used[j] = next[j] * share + past[j] * (1 - share);
  }
  if (sound && std::all_of(next, next + 2 * c, [](T value) { return std::isfinite(value); })) {
    recent.copy_(kept);
    gradients.add_(1);
  }
  dmean.assign(used.begin(), used.begin() + c);
  dvar.assign(used.begin() + c, used.end());
}

// The gradients of the moments of a pool's unions, divided at the end. Only those of one chunk are
// kept, so that they stay in the cache.
struct OfPool {
  const Union* rows;
  Moments kept;
  double *mean, *var;  // where those of the first union of all would be

  OfPool(const Union& rows, int64_t chunk)
      : rows(&rows), kept(rows.before(chunk + rows.samples - 1)) {}

  void begin(int64_t start) {
    for (Values* values : {&kept.mean, &kept.var}) std::fill(values->begin(), values->end(), 0.0);
    mean = kept.mean.data() - rows->before(start);
    var = kept.var.data() - rows->before(start);
  }
};

// The gradients of everything that has at most one value per channel, and the map to that of x.
template <typename T>
struct Gradients {
  const Solution<T>& s;
  Values weight, bias, p, q, gates;
  Map<T> map;

  // *dots* are the sums of the gradients of rows, and *d* is the number of values in each. If it is
  // one, they are gradients of values; those of the input are written to *values*, without a map.
  Gradients(const Solution<T>& s, const Rows<T>& dots, const Values& w, const Constants& constants,
            int64_t d, T* values)
      : s(s), weight(s.c), bias(s.c), p(s.pools.size()), q(s.pools.size()), gates(s.gates.size()),
        map(values == nullptr ? s.n * s.c : 0), values_(values), channels_(s.gates, s.c), own_(s.c),
        dot_(s.c), grad_(s.c) {
    for (const Pool& pool : s.pools) pooled_.emplace_back(pool.rows, s.chunk);
    Line line(s.c);
    for (int64_t start = 0; start < s.n; start += s.chunk) {
      const int64_t samples = std::min(s.chunk, s.n - start);
      for (OfPool& pool : pooled_) pool.begin(start);
      of_mixture(start, samples, dots, w, line);
      for (size_t k = 0; k < s.pools.size(); ++k) through(k, start, samples, constants);
      for (int64_t i = start; i < start + samples; ++i) {
        of_rows(i);
        keep(i * s.c, dots.first_of(i), d);
      }
    }
  }

 private:
  void of_mixture(int64_t start, int64_t samples, const Rows<T>& dots, const Values& w,
                  Line& line) {
    for (int64_t i = start; i < start + samples; ++i) {
      s.solve(i, line);
      s.own.read(i, own_.mean.data(), own_.var.data());
      dots.read(i, dot_.mean.data(), dot_.var.data());
      of_sample(i, line, own_.mean.data(), dot_, w.data(), grad_);
      const double *m = grad_.mean.data(), *v = grad_.var.data();
      for (size_t k = 0; k < s.pools.size(); ++k) {
        s.pools[k].rows.add(i, pooled_[k].mean,
                            [=](int64_t) { return [=](int64_t j) { return m[j]; }; });
        s.pools[k].rows.add(i, pooled_[k].var,
                            [=](int64_t) { return [=](int64_t j) { return v[j]; }; });
      }
    }
  }

  void of_sample(int64_t i, const Line& line, const double* own, const Moments& dot,
                 const double* w, Moments& grad) {
    const double *mean = line.mean.data(), *inverse = line.inverse.data();
    const double *slope = line.slope.data(), *r = line.r.data(), *d = line.d.data();
    const double *s0 = dot.mean.data(), *s1 = dot.var.data();
    double *of_weight = weight.data(), *of_bias = bias.data();
    double *of_mean = grad.mean.data(), *of_var = grad.var.data();
    T* of_g = (values_ == nullptr ? map.a.get() : values_) + i * s.c;
    if (s.mu.empty()) {  // r is 1 and d is 0
      INDEPENDENT
      for (int64_t j = 0; j < s.c; ++j) {
        const double along = (s1[j] + s0[j] * (own[j] - mean[j])) * inverse[j];
        const double scale = w[j] * inverse[j];
        of_weight[j] += along;
        of_bias[j] += s0[j];
        of_g[j] = static_cast<T>(scale);
        of_mean[j] = -scale * s0[j];
        of_var[j] = -0.5 * along * scale * inverse[j];
      }
      return;
    }
    INDEPENDENT
    for (int64_t j = 0; j < s.c; ++j) {
      const double along = s1[j] + s0[j] * (own[j] - mean[j]), wr = w[j] * r[j];
      of_weight[j] += along * inverse[j] * r[j] + s0[j] * d[j];
      of_bias[j] += s0[j];
      of_g[j] = static_cast<T>(wr * inverse[j]);
      of_mean[j] = -wr * inverse[j] * s0[j];
      of_var[j] = along * wr * slope[j];
    }
  }

  void through(size_t k, int64_t start, int64_t samples, const Constants& constants) {
    const Pool& pool = s.pools[k];
    OfPool& grad = pooled_[k];
    double *m = grad.mean, *v = grad.var;
    const double share = s.p[k], spread = s.q[k];
    if (!s.recipe.of_p.empty() || !s.recipe.of_q.empty()) {
      const double *mean = pool.mean, *var = pool.var;
      double of_p = 0, of_q = 0;
      pool.rows.sized(start, samples, [&](int64_t u, double) {
        of_p += m[u] * mean[u];
        of_q += v[u] * var[u];
      });
      p[k] += of_p;
      q[k] += of_q;
    }
    if (share != 1 || spread != 1)
      pool.rows.sized(start, samples, [=](int64_t u, double) {
        m[u] *= share;
        v[u] *= spread;
      });
    if (constants.base.defined())
      stream<T>(grad.kept.mean, grad.kept.var, constants, s.recipe.share, s.are_finite());
    if (s.recipe.about_zero) std::fill(grad.kept.mean.begin(), grad.kept.mean.end(), 0.0);
    pool.divide(start, samples, m);
    pool.divide(start, samples, v);
  }

  // Computes them from the gradients of the pools' moments.
  void of_rows(int64_t i) {
    if (s.gates.empty()) {
      s.own.read(i, own_.mean.data(), own_.var.data());
      spread(i);
      return;
    }
    channels_.merge(s.own.first_of(i), s.own.second_of(i), own_.mean.data(), own_.var.data());
    spread(i);
    channels_.back(grad_.mean.data(), grad_.var.data(), gates);
  }

  void spread(int64_t i) {
    const bool of_values = values_ != nullptr && s.gates.empty();  // they have no variance
    std::fill(grad_.mean.begin(), grad_.mean.end(), 0.0);
    if (!of_values) std::fill(grad_.var.begin(), grad_.var.end(), 0.0);
    for (size_t k = 0; k < s.pools.size(); ++k)
      s.pools[k].spread(i, pooled_[k].mean, pooled_[k].var, own_.mean.data(), grad_.mean.data(),
                        of_values ? nullptr : grad_.var.data());
  }

  void keep(int64_t start, const T* g, int64_t d) {
    const double *m = grad_.mean.data(), *v = grad_.var.data(), share = 1.0 / d;
    if (values_ != nullptr) {  // a value is its own mean
      T* to = values_ + start;
      INDEPENDENT
      for (int64_t j = 0; j < s.c; ++j) to[j] = static_cast<T>(to[j] * g[j] + m[j]);
      return;
    }
    T *of_x = &map.b[start], *rest = &map.c[start];
    INDEPENDENT
    for (int64_t j = 0; j < s.c; ++j) {
      of_x[j] = static_cast<T>(2 * v[j] * share);
      rest[j] = static_cast<T>(m[j] * share);
    }
  }

  T* values_;
  std::vector<OfPool> pooled_;
  GatedChannels<T> channels_;
  Moments own_, dot_, grad_;  // of the current sample
};

}  // namespace normlab
