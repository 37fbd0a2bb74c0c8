// Online Normalization, both passes whole: what online_passes.py and online_coefficients.py do, with
// one value a row (a channel of a sample) computed sample after sample in rows that stay in cache.
// Backward runs the scan of the statistics again, so that only moments are kept.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/ivalue.h>
#include <torch/library.h>

#include <cmath>
#include <utility>
#include <vector>

#include "fused_rows.h"

// No two rows of a loop overlap, but compilers cannot know it of so many pointers.
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif

namespace {

using at::Tensor;
// The standard library's optional, or in PyTorch 2.0 its own.
using MaybeTensor = decltype(std::declval<at::IValue&>().toOptional<Tensor>());

struct Options {
  double decay, backward_decay, eps;
  int64_t group_size;  // 0 is no layer scaling
  double scaling_eps, limit;

  static Options of(at::ArrayRef<double> v, int64_t group_size) {
    return {v[0], v[1], v[2], group_size, v[3], v[4]};
  }
};

// The values of *t*, or *value* everywhere: the loops stay free of branches.
template <typename T>
std::vector<T> row_of(const MaybeTensor& t, int64_t c, double value) {
  if (!t.has_value() || !t->defined()) return std::vector<T>(c, static_cast<T>(value));
  const Tensor dense = t->contiguous();
  const T* data = dense.data_ptr<T>();
  return std::vector<T>(data, data + c);
}

// The mean over each group of channels, given to every channel of it.
template <typename T>
void spread_group_means(T* row, int64_t c, int64_t size) {
  for (int64_t start = 0; start < c; start += size) {
    double sum = 0;
    for (int64_t i = start; i < start + size; ++i) sum += row[i];
    const T mean = static_cast<T>(sum / size);
    for (int64_t i = start; i < start + size; ++i) row[i] = mean;
  }
}

// The statistics of the samples before the present one, and what they make of its moments.
template <typename T>
struct Scan {
  int64_t c;
  Options o;
  Tensor mu_t, var_t;  // (C,), moved by `next`
  std::vector<T> weight, bias, inv, before, my, my2, factor, scale, shift;

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
  std::vector<T> along, of_g, of_x, rest;

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

template <typename T>
void clamped_affine(const T* __restrict x, T* __restrict y, T a, T b, T limit, int64_t d) {
  for (int64_t i = 0; i < d; ++i) y[i] = std::min(std::max(a * x[i] + b, -limit), limit);
}

// Without positions: a sample's moments are its values, and nothing is kept.
template <typename T>
std::vector<Tensor> forward_values(const Tensor& x_t, Scan<T> scan) {
  const int64_t n = x_t.size(0), c = scan.c;
  Tensor y_t = at::empty_like(x_t);
  const std::vector<T> zero(c);
  const T limit = scan.o.limit;
  for (int64_t t = 0; t < n; ++t) {
    const T* x = x_t.data_ptr<T>() + t * c;
    T* y = y_t.data_ptr<T>() + t * c;
    scan.next(x, zero.data());
    const T *a = scan.scale.data(), *b = scan.shift.data();
    INDEPENDENT
    for (int64_t i = 0; i < c; ++i) y[i] = std::min(std::max(a[i] * x[i] + b[i], -limit), limit);
  }
  return {y_t, at::empty({0}, x_t.options()), scan.mu_t, scan.var_t};
}

// Scale and shift of every row, (2, N, C).
template <typename T>
Tensor maps_of(const Tensor& moments, Scan<T>& scan) {
  Tensor maps = at::empty_like(moments);
  const int64_t n = moments.size(1), c = scan.c;
  const T* m = moments.data_ptr<T>();
  T* out = maps.data_ptr<T>();
  for (int64_t t = 0; t < n; ++t) {
    scan.next(m + t * c, m + (n + t) * c);
    std::copy(scan.scale.begin(), scan.scale.end(), out + t * c);
    std::copy(scan.shift.begin(), scan.shift.end(), out + (n + t) * c);
  }
  return maps;
}

template <typename T>
std::vector<Tensor> forward_rows(const Tensor& x_t, Scan<T> scan) {
  const int64_t n = x_t.size(0), rows = n * scan.c, d = x_t.numel() / rows;
  Tensor moments = at::empty({2, n, scan.c}, x_t.options()), y_t = at::empty_like(x_t);
  const T* x = x_t.data_ptr<T>();
  T *m = moments.data_ptr<T>(), *y = y_t.data_ptr<T>();
  at::parallel_for(0, rows, normlab::grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) normlab::row_moments(x + r * d, d, m[r], m[rows + r]);
  });
  const Tensor maps = maps_of(moments, scan);
  const T *a = maps.data_ptr<T>(), *b = a + rows, limit = scan.o.limit;
  at::parallel_for(0, rows, normlab::grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      clamped_affine(x + r * d, y + r * d, a[r], b[r], limit, d);
  });
  return {y_t, moments, scan.mu_t, scan.var_t};
}

template <typename T>
std::vector<Tensor> backward_values(const Tensor& x_t, const Tensor& g_t, Scan<T> scan,
                                    Control<T> control) {
  const int64_t n = x_t.size(0), c = scan.c;
  Tensor gx_t = at::empty_like(x_t);
  const std::vector<T> zero(c);
  std::vector<T> inside(c), along(c);
  const T limit = scan.o.limit;
  for (int64_t t = 0; t < n; ++t) {
    const T *x = x_t.data_ptr<T>() + t * c, *g = g_t.data_ptr<T>() + t * c;
    T *gx = gx_t.data_ptr<T>() + t * c, *h = inside.data(), *r = along.data();
    scan.next(x, zero.data());
    const T *a = scan.scale.data(), *b = scan.shift.data(), *my = scan.my.data();
    INDEPENDENT
    for (int64_t i = 0; i < c; ++i) {
      h[i] = std::abs(a[i] * x[i] + b[i]) >= limit ? T(0) : g[i];
      r[i] = h[i] * my[i];
    }
    control.next(scan, h, r);
    const T *p = control.of_g.data(), *q = control.of_x.data(), *k = control.rest.data();
    INDEPENDENT
    for (int64_t i = 0; i < c; ++i) gx[i] = p[i] * h[i] + (q[i] * x[i] + k[i]);
  }
  return {gx_t, control.d_weight_t, control.d_bias_t, control.u_t, control.v_t};
}

// Means over positions of g and g * (x - mean), with g where |a x + b| < limit and 0 elsewhere.
template <typename T>
Tensor gradient_means(const Tensor& x_t, const Tensor& g_t, const Tensor& moments,
                      const Tensor& maps, T limit) {
  const int64_t rows = moments.numel() / 2, d = x_t.numel() / rows;
  Tensor out = at::empty_like(moments);
  const T *x = x_t.data_ptr<T>(), *g = g_t.data_ptr<T>(), *m = moments.data_ptr<T>();
  const bool all = !maps.defined();
  const T *a = all ? nullptr : maps.data_ptr<T>(), *b = all ? nullptr : a + rows;
  T *s0 = out.data_ptr<T>(), *s1 = s0 + rows;
  at::parallel_for(0, rows, normlab::grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T *xr = x + r * d, *gr = g + r * d, mean = m[r];
      if (all) {
        normlab::row_dots(gr, xr, mean, d, s0[r], s1[r]);
      } else {
        const T ar = a[r], br = b[r];
        const auto inside = [=](int64_t i) {
          return std::abs(ar * xr[i] + br) >= limit ? T(0) : gr[i];
        };
        s0[r] = static_cast<T>(normlab::sum<T>(d, inside));
        s1[r] = static_cast<T>(
            normlab::sum<T>(d, [=](int64_t i) { return inside(i) * (xr[i] - mean); }));
      }
      s0[r] /= d;
      s1[r] /= d;
    }
  });
  return out;
}

template <typename T>
std::vector<Tensor> backward_rows(const Tensor& x_t, const Tensor& g_t, const Tensor& moments,
                                  Scan<T> scan, Scan<T> again, Control<T> control) {
  const int64_t n = x_t.size(0), c = scan.c, rows = n * c, d = x_t.numel() / rows;
  const T limit = scan.o.limit;
  const bool all = std::isinf(scan.o.limit);
  const Tensor maps = all ? Tensor() : maps_of(moments, again);
  const Tensor means = gradient_means(x_t, g_t, moments, maps, limit);
  Tensor coefficients = at::empty({3, n, c}, x_t.options()), gx_t = at::empty_like(x_t);
  const T *m = moments.data_ptr<T>(), *s0 = means.data_ptr<T>(), *s1 = s0 + rows;
  T* of = coefficients.data_ptr<T>();
  std::vector<T> along(c);
  for (int64_t t = 0; t < n; ++t) {
    const T *mean = m + t * c, *p = s0 + t * c, *dot = s1 + t * c;
    scan.next(mean, mean + rows);
    const T *inv = scan.inv.data(), *before = scan.before.data();
    T* r = along.data();
    INDEPENDENT
    for (int64_t i = 0; i < c; ++i) r[i] = (dot[i] + p[i] * (mean[i] - before[i])) * inv[i];
    control.next(scan, p, r);
    std::copy(control.of_g.begin(), control.of_g.end(), of + t * c);
    std::copy(control.of_x.begin(), control.of_x.end(), of + rows + t * c);
    std::copy(control.rest.begin(), control.rest.end(), of + 2 * rows + t * c);
  }
  const T *x = x_t.data_ptr<T>(), *g = g_t.data_ptr<T>();
  const T *a = all ? nullptr : maps.data_ptr<T>(), *b = all ? nullptr : a + rows;
  T* gx = gx_t.data_ptr<T>();
  at::parallel_for(0, rows, normlab::grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T *__restrict xr = x + r * d, *__restrict gr = g + r * d;
      const T p = of[r], q = of[rows + r], k = of[2 * rows + r];
      const T ar = all ? 0 : a[r], br = all ? 0 : b[r];
      T* __restrict to = gx + r * d;
      for (int64_t i = 0; i < d; ++i) {
        const T h = std::abs(ar * xr[i] + br) >= limit ? T(0) : gr[i];
        to[i] = p * h + (q * xr[i] + k);
      }
    }
  });
  return {gx_t, control.d_weight_t.mul_(d), control.d_bias_t.mul_(d), control.u_t, control.v_t};
}

template <typename T>
std::vector<Tensor> forward_of(const Tensor& x, const Scan<T>& scan) {
  return x.dim() == 2 ? forward_values<T>(x, scan) : forward_rows<T>(x, scan);
}

template <typename T>
std::vector<Tensor> backward_of(const Tensor& x, const Tensor& g, const Tensor& moments,
                                const Scan<T>& scan, const Control<T>& control) {
  if (x.dim() == 2) return backward_values<T>(x, g, scan, control);
  Scan<T> again = scan;  // its state is moved in place
  again.mu_t = scan.mu_t.clone();
  again.var_t = scan.var_t.clone();
  return backward_rows<T>(x, g, moments, scan, again, control);
}

std::vector<Tensor> forward(const Tensor& x, const Tensor& mu, const Tensor& var,
                            const MaybeTensor& weight, const MaybeTensor& bias,
                            at::ArrayRef<double> numbers, int64_t group_size) {
  const Options o = Options::of(numbers, group_size);
  if (x.scalar_type() == at::kDouble) return forward_of(x, Scan<double>(mu, var, weight, bias, o));
  return forward_of(x, Scan<float>(mu, var, weight, bias, o));
}

std::vector<Tensor> backward(const Tensor& x, const Tensor& g, const Tensor& moments,
                             const Tensor& mu, const Tensor& var, const Tensor& u, const Tensor& v,
                             const MaybeTensor& weight, const MaybeTensor& bias,
                             at::ArrayRef<double> numbers, int64_t group_size) {
  const Options o = Options::of(numbers, group_size);
  if (x.scalar_type() == at::kDouble)
    return backward_of(x, g, moments, Scan<double>(mu, var, weight, bias, o),
                       Control<double>(u, v));
  return backward_of(x, g, moments, Scan<float>(mu, var, weight, bias, o), Control<float>(u, v));
}

}  // namespace

TORCH_LIBRARY(normlab_online, m) {
  m.def(
      "forward(Tensor x, Tensor mu, Tensor var, Tensor? weight, Tensor? bias, float[] numbers,"
      " int group_size) -> Tensor[]",
      &forward);
  m.def(
      "backward(Tensor x, Tensor g, Tensor moments, Tensor mu, Tensor var, Tensor u, Tensor v,"
      " Tensor? weight, Tensor? bias, float[] numbers, int group_size) -> Tensor[]",
      &backward);
}
