// Online Normalization, sample after sample: the scan of the statistics and the control process.
// Both have one value per channel, in rows that stay in the cache.

#pragma once

#include <ATen/ATen.h>
#include <ATen/core/ivalue.h>

#include <cmath>
#include <utility>
#include <vector>

#include "aligned_values.h"
#include "fused_rows.h"

namespace normlab {

using at::Tensor;
// The optional of the standard library, or that of PyTorch 2.0.
using MaybeTensor = decltype(std::declval<at::IValue&>().toOptional<Tensor>());

struct Options {
  double decay, backward_decay, eps;
  int64_t group_size;  // 0 is no layer scaling
  double scaling_eps, limit;

  static Options of(at::ArrayRef<double> v, int64_t group_size) {
    return {v[0], v[1], v[2], group_size, v[3], v[4]};
  }
};

// The values of *t*, or *value* everywhere, so that the loops have no branches.
template <typename T>
AlignedVector<T> row_of(const MaybeTensor& t, int64_t c, double value) {
  if (!t.has_value() || !t->defined()) return AlignedVector<T>(c, static_cast<T>(value));
  const Tensor dense = t->contiguous();
  const T* data = dense.data_ptr<T>();
  return AlignedVector<T>(data, data + c);
}

// The mean over each group of channels, given to every channel of it.
template <typename T>
void spread_group_means(T* row, int64_t c, int64_t size) {
  for (int64_t start = 0; start < c; start += size) {
    const double total = sum<double>(size, [=](int64_t i) { return row[start + i]; });
    const T mean = static_cast<T>(total / size);
    for (int64_t i = start; i < start + size; ++i) row[i] = mean;
  }
}

// The statistics of the samples before the current one, and how they normalize it.
template <typename T>
struct Scan {
  int64_t c;
  Options o;
  Tensor mu_t, var_t;  // (C,), changed by `next`
  AlignedVector<T> weight, bias, inv, before, my, my2, factor, scale, shift;

  Scan(const Tensor& mu, const Tensor& var, const MaybeTensor& weight, const MaybeTensor& bias,
       const Options& o)
      : c(mu.numel()), o(o), mu_t(mu.clone()), var_t(var.clone()),
        weight(row_of<T>(weight, c, 1)), bias(row_of<T>(bias, c, 0)), inv(c), before(c), my(c),
        my2(c), factor(c, T(1)), scale(c), shift(c) {}

  void next(const T* mean, const T* variance) {
    T *mu = mu_t.data_ptr<T>(), *var = var_t.data_ptr<T>();
    const T a = o.decay, gain = 1 - o.decay, e = o.eps, se = o.scaling_eps;
    const T *w = weight.data(), *b = bias.data();
    T *is = inv.data(), *old = before.data(), *m1 = my.data(), *m2 = my2.data();
    T *f = factor.data(), *s = scale.data(), *t = shift.data();
    INDEPENDENT
    for (int64_t i = 0; i < c; ++i) {
      old[i] = mu[i];
      is[i] = 1 / std::sqrt(var[i] + e);
      const T off = mean[i] - mu[i];
      m1[i] = off * is[i];
      m2[i] = (variance[i] + off * off) * is[i] * is[i];
      var[i] = a * var[i] + gain * (variance[i] + a * off * off);
      mu[i] = a * mu[i] + gain * mean[i];
    }
    if (o.group_size > 0) {
      INDEPENDENT
      for (int64_t i = 0; i < c; ++i)
        f[i] = w[i] * w[i] * m2[i] + 2 * w[i] * b[i] * m1[i] + b[i] * b[i];
      spread_group_means(f, c, o.group_size);
      INDEPENDENT
      for (int64_t i = 0; i < c; ++i) f[i] = 1 / std::sqrt(f[i] + se);
    }
    INDEPENDENT
    for (int64_t i = 0; i < c; ++i) {
      s[i] = is[i] * w[i] * f[i];
      t[i] = b[i] * f[i] - s[i] * old[i];
    }
  }
};

// The control process, one sample at a time: gx = of_g g + of_x x + rest.
template <typename T>
struct Control {
  int64_t c;
  Tensor u_t, v_t, d_weight_t, d_bias_t;
  AlignedVector<T> along, of_g, of_x, rest;

  Control(const Tensor& u, const Tensor& v)
      : c(u.numel()), u_t(u.clone()), v_t(v.clone()), d_weight_t(at::zeros_like(u_t)),
        d_bias_t(at::zeros_like(u_t)), along(c, T(0)), of_g(c), of_x(c), rest(c) {}

  // *pz* and *rz* are the means of the gradient of z, and of it times y.
  void next(const Scan<T>& s, const T* pz, const T* rz) {
    const T pull = 1 - s.o.backward_decay, keep = s.o.backward_decay;
    const T *w = s.weight.data(), *b = s.bias.data(), *is = s.inv.data(), *mu = s.before.data();
    const T *my = s.my.data(), *my2 = s.my2.data(), *factor = s.factor.data();
    T *u = u_t.data_ptr<T>(), *v = v_t.data_ptr<T>();
    T *d_weight = d_weight_t.data_ptr<T>(), *d_bias = d_bias_t.data_ptr<T>();
    T *sum = along.data(), *g = of_g.data(), *x = of_x.data(), *shift = rest.data();
    if (s.o.group_size > 0) {
      INDEPENDENT
      for (int64_t i = 0; i < c; ++i) sum[i] = w[i] * rz[i] + b[i] * pz[i];
      spread_group_means(sum, c, s.o.group_size);
    }
    INDEPENDENT
    for (int64_t i = 0; i < c; ++i) {
      const T wi = w[i], bi = b[i], k = factor[i], shrink = sum[i] * k * k * k;
      const T p = k * pz[i] - shrink * (wi * my[i] + bi);
      const T r = k * rz[i] - shrink * (wi * my2[i] + bi * my[i]);
      d_bias[i] += p;
      d_weight[i] += r;
      const T vi = v[i], ui = u[i], inv = is[i];
      const T of_y = (wi * wi * shrink + pull * vi) * inv;
      g[i] = wi * k * inv;
      x[i] = -of_y * inv;
      shift[i] = of_y * inv * mu[i] - wi * bi * shrink * inv - pull * ui;
      u[i] = keep * ui + (wi * p - pull * vi * my[i]) * inv;
      v[i] = (1 - pull * my2[i]) * vi + wi * r;
    }
  }
};

}  // namespace normlab
