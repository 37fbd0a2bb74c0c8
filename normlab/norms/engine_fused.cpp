// The engine's passes over the data, one loop each: what engine.py does in stock operators.
// A row is one channel of one sample, d values; everything else has one value for each row.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <tuple>

#include "fused_rows.h"

namespace {

using at::Tensor;

using normlab::grain;
using normlab::row_dots;
using normlab::row_moments;

template <typename T>
void moments_of(const Tensor& x, Tensor& mean, Tensor& var, int64_t d) {
  const T* data = x.data_ptr<T>();
  T *m = mean.data_ptr<T>(), *v = var.data_ptr<T>();
  at::parallel_for(0, mean.numel(), grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      row_moments(data + r * d, d, m[r], v[r]);
    }
  });
}

template <typename T>
void dots_of(const Tensor& g, const Tensor& x, const Tensor& mean, Tensor& s0, Tensor& s1,
             int64_t d) {
  const T *gs = g.data_ptr<T>(), *xs = x.data_ptr<T>(), *m = mean.data_ptr<T>();
  T *a = s0.data_ptr<T>(), *b = s1.data_ptr<T>();
  at::parallel_for(0, mean.numel(), grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      row_dots(gs + r * d, xs + r * d, m[r], d, a[r], b[r]);
    }
  });
}

template <typename T>
void affine_of(const Tensor& x, const Tensor& scale, const Tensor& shift, Tensor& y, int64_t d) {
  const T *xs = x.data_ptr<T>(), *a = scale.data_ptr<T>(), *b = shift.data_ptr<T>();
  T* out = y.data_ptr<T>();
  at::parallel_for(0, scale.numel(), grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T ar = a[r], br = b[r];
      const T* __restrict xr = xs + r * d;
      T* __restrict yr = out + r * d;
      for (int64_t i = 0; i < d; ++i) yr[i] = ar * xr[i] + br;
    }
  });
}

template <typename T>
void combine_of(const Tensor& x, const Tensor& g, const Tensor& p, const Tensor& q,
                const Tensor& shift, Tensor& y, int64_t d) {
  const T *xs = x.data_ptr<T>(), *gs = g.data_ptr<T>();
  const T *ps = p.data_ptr<T>(), *qs = q.data_ptr<T>(), *b = shift.data_ptr<T>();
  T* out = y.data_ptr<T>();
  at::parallel_for(0, p.numel(), grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T pr = ps[r], qr = qs[r], br = b[r];
      const T *__restrict xr = xs + r * d, *__restrict gr = gs + r * d;
      T* __restrict yr = out + r * d;
      for (int64_t i = 0; i < d; ++i) yr[i] = pr * xr[i] + qr * gr[i] + br;
    }
  });
}

// z = max(y, floor), with one floor for each channel.
template <typename T>
void floored_of(const Tensor& y, const Tensor& floor, Tensor& z, int64_t d) {
  const T *ys = y.data_ptr<T>(), *f = floor.data_ptr<T>();
  T* out = z.data_ptr<T>();
  const int64_t c = floor.numel();
  at::parallel_for(0, y.numel() / d, grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T least = f[r % c];
      const T* __restrict from = ys + r * d;
      T* __restrict to = out + r * d;
      for (int64_t i = 0; i < d; ++i) to[i] = from[i] <= least ? least : from[i];  // NaN stays
    }
  });
}

// The gradient where z is above its floor, and for each row the sum of the rest.
template <typename T>
void floored_back_of(const Tensor& g, const Tensor& z, const Tensor& floor, Tensor& kept,
                     Tensor& lost, int64_t d) {
  const T *gs = g.data_ptr<T>(), *zs = z.data_ptr<T>(), *f = floor.data_ptr<T>();
  T *out = kept.data_ptr<T>(), *rest = lost.data_ptr<T>();
  const int64_t c = floor.numel();
  at::parallel_for(0, lost.numel(), grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T least = f[r % c];
      const T *__restrict gr = gs + r * d, *__restrict zr = zs + r * d;
      T* __restrict to = out + r * d;
      for (int64_t i = 0; i < d; ++i) to[i] = zr[i] <= least ? T(0) : gr[i];
      rest[r] = static_cast<T>(
          normlab::sum<T>(d, [=](int64_t i) { return zr[i] <= least ? gr[i] : T(0); }));
    }
  });
}

std::tuple<Tensor, Tensor> moments(const Tensor& x, int64_t n, int64_t c) {
  Tensor mean = at::empty({n, c}, x.options()), var = at::empty({n, c}, x.options());
  const int64_t d = x.numel() / (n * c);
  x.scalar_type() == at::kDouble ? moments_of<double>(x, mean, var, d)
                                 : moments_of<float>(x, mean, var, d);
  return {mean, var};
}

std::tuple<Tensor, Tensor> two_dots(const Tensor& g, const Tensor& x, const Tensor& mean) {
  const Tensor m = mean.contiguous();
  Tensor s0 = at::empty_like(m), s1 = at::empty_like(m);
  const int64_t d = x.numel() / m.numel();
  x.scalar_type() == at::kDouble ? dots_of<double>(g, x, m, s0, s1, d)
                                 : dots_of<float>(g, x, m, s0, s1, d);
  return {s0, s1};
}

Tensor affine(const Tensor& x, const Tensor& scale, const Tensor& shift) {
  const Tensor a = scale.contiguous(), b = shift.contiguous();
  Tensor y = at::empty_like(x);
  const int64_t d = x.numel() / a.numel();
  x.scalar_type() == at::kDouble ? affine_of<double>(x, a, b, y, d)
                                 : affine_of<float>(x, a, b, y, d);
  return y;
}

Tensor combine(const Tensor& x, const Tensor& g, const Tensor& of_x, const Tensor& of_g,
               const Tensor& shift) {
  const Tensor p = of_x.contiguous(), q = of_g.contiguous(), b = shift.contiguous();
  Tensor y = at::empty_like(x);
  const int64_t d = x.numel() / p.numel();
  x.scalar_type() == at::kDouble ? combine_of<double>(x, g, p, q, b, y, d)
                                 : combine_of<float>(x, g, p, q, b, y, d);
  return y;
}

Tensor floored(const Tensor& y, const Tensor& floor) {
  const Tensor f = floor.contiguous();
  Tensor z = at::empty_like(y);
  const int64_t d = y.numel() / (y.size(0) * y.size(1));
  y.scalar_type() == at::kDouble ? floored_of<double>(y, f, z, d) : floored_of<float>(y, f, z, d);
  return z;
}

std::tuple<Tensor, Tensor> floored_back(const Tensor& g, const Tensor& z, const Tensor& floor) {
  const Tensor f = floor.contiguous();
  Tensor kept = at::empty_like(z), lost = at::empty({z.size(0), z.size(1)}, z.options());
  const int64_t d = z.numel() / lost.numel();
  z.scalar_type() == at::kDouble ? floored_back_of<double>(g, z, f, kept, lost, d)
                                 : floored_back_of<float>(g, z, f, kept, lost, d);
  return {kept, lost};
}

}  // namespace

TORCH_LIBRARY(normlab_engine, m) {
  m.def("moments(Tensor x, int n, int c) -> (Tensor, Tensor)", &moments);
  m.def("two_dots(Tensor g, Tensor x, Tensor mean) -> (Tensor, Tensor)", &two_dots);
  m.def("affine(Tensor x, Tensor scale, Tensor shift) -> Tensor", &affine);
  m.def("floored(Tensor y, Tensor floor) -> Tensor", &floored);
  m.def("floored_back(Tensor g, Tensor z, Tensor floor) -> (Tensor, Tensor)", &floored_back);
  m.def("combine(Tensor x, Tensor g, Tensor of_x, Tensor of_g, Tensor shift) -> Tensor", &combine);
}
