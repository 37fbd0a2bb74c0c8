// Both whole passes of Online Normalization, as in online_passes.py and online_coefficients.py.
// They compute one value per row (a channel of a sample), sample after sample, in rows that stay in
// the cache.
// Backward runs the scan of the statistics again, so that only moments are kept.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <cmath>
#include <vector>

#include "fused_rows.h"
#include "online_scan.h"

namespace {

using namespace normlab;

template <typename T>
void clamped_affine(const T* __restrict x, T* __restrict y, T a, T b, T limit, int64_t d) {
  for (int64_t i = 0; i < d; ++i) y[i] = std::min(std::max(a * x[i] + b, -limit), limit);
}

// Without positions, the moments of a sample are its values, and nothing is kept.
template <typename T>
std::vector<Tensor> forward_values(const Tensor& x_t, Scan<T> scan) {
  const int64_t n = x_t.size(0), c = scan.c;
  Tensor y_t = at::empty_like(x_t);
  const AlignedVector<T> zero(c);
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

// The scale and the shift of every row, (2, N, C).
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
  const AlignedVector<T> zero(c);
  AlignedVector<T> inside(c), along(c);
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
  AlignedVector<T> along(c);
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
