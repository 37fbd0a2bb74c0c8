// The engine's passes over the data, one loop each: what engine.py does in stock operators.
// A row is one channel of one sample, d values; everything else has one value for each row.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>

namespace {

using at::Tensor;

constexpr int64_t kLanes = 16;
constexpr int64_t kBlock = 1024;  // sums of so many values are kept in the data's type

int64_t grain(int64_t d) { return std::max<int64_t>(1, 32768 / std::max<int64_t>(d, 1)); }

// The sum of term(i), i < d: lanes that a compiler makes vectors of, and double between blocks.
template <typename T, typename Term>
double sum(int64_t d, const Term& term) {
  double total = 0;
  for (int64_t start = 0; start < d; start += kBlock) {
    const int64_t end = std::min(start + kBlock, d);
    T lanes[kLanes] = {};
    int64_t i = start;
    for (; i + kLanes <= end; i += kLanes)
      for (int64_t k = 0; k < kLanes; ++k) lanes[k] += term(i + k);
    for (; i < end; ++i) lanes[0] += term(i);
    for (const T lane : lanes) total += lane;
  }
  return total;
}

template <typename T>
void moments_of(const Tensor& x, Tensor& mean, Tensor& var, int64_t d) {
  const T* data = x.data_ptr<T>();
  T *m = mean.data_ptr<T>(), *v = var.data_ptr<T>();
  at::parallel_for(0, mean.numel(), grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T* row = data + r * d;
      const double center = sum<T>(d, [row](int64_t i) { return row[i]; }) / d;
      const T c = static_cast<T>(center);
      const double off = sum<T>(d, [row, c](int64_t i) { return row[i] - c; }) / d;
      const double square =
          sum<T>(d, [row, c](int64_t i) { return (row[i] - c) * (row[i] - c); }) / d;
      m[r] = static_cast<T>(c + off);
      v[r] = static_cast<T>(std::max(square - off * off, 0.0));
      if (square != square) v[r] = static_cast<T>(square);  // max would drop a NaN
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
      const T *gr = gs + r * d, *xr = xs + r * d;
      const T c = m[r];
      a[r] = static_cast<T>(sum<T>(d, [gr](int64_t i) { return gr[i]; }));
      b[r] = static_cast<T>(sum<T>(d, [gr, xr, c](int64_t i) { return gr[i] * (xr[i] - c); }));
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
