// The engine's passes over the data, one loop each. engine.py has the same in torch's operators.
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

}  // namespace

TORCH_LIBRARY(normlab_engine, m) {
  m.def("moments(Tensor x, int n, int c) -> (Tensor, Tensor)", &moments);
  m.def("two_dots(Tensor g, Tensor x, Tensor mean) -> (Tensor, Tensor)", &two_dots);
  m.def("affine(Tensor x, Tensor scale, Tensor shift) -> Tensor", &affine);
  m.def("combine(Tensor x, Tensor g, Tensor of_x, Tensor of_g, Tensor shift) -> Tensor", &combine);
}
