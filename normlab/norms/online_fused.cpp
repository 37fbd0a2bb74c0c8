// Online Normalization: what online_coefficients.py does on (N, C) in one loop over the samples, and
// the two passes over the data that its backward needs, with the clamp's mask taken on the way.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

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
using MaybeTensor = std::optional<Tensor>;

// One row of *value* where a parameter is missing: the loops stay free of branches.
Tensor or_row_of(double value, const MaybeTensor& t, const Tensor& like) {
  return t.has_value() && t->defined() ? t->contiguous()
                                       : at::full({like.size(1)}, value, like.options());
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

template <typename T>
std::vector<Tensor> scan_forward(const Tensor& means, const Tensor& variances, const Tensor& mu0,
                                 const Tensor& var0, const MaybeTensor& weight,
                                 const MaybeTensor& bias, double decay, double eps,
                                 int64_t group_size, double scaling_eps) {
  const int64_t n = means.size(0), c = means.size(1);
  Tensor out = at::empty({7, n, c}, means.options());
  Tensor mu_t = mu0.clone(), var_t = var0.clone();
  const Tensor weight_t = or_row_of(1, weight, means), bias_t = or_row_of(0, bias, means);
  const T *m = means.data_ptr<T>(), *vx = variances.data_ptr<T>();
  const T *w = weight_t.data_ptr<T>(), *b = bias_t.data_ptr<T>();
  T *mu = mu_t.data_ptr<T>(), *var = var_t.data_ptr<T>();
  T* base = out.data_ptr<T>();
  const T a = decay, gain = 1 - decay, e = eps;
  for (int64_t t = 0; t < n; ++t) {
    T* scale = base + t * c;
    T *shift = scale + n * c, *inv = shift + n * c, *mus = inv + n * c;
    T *my = mus + n * c, *my2 = my + n * c, *factor = my2 + n * c;
    const T *mt = m + t * c, *vt = vx + t * c;
    INDEPENDENT
    for (int64_t i = 0; i < c; ++i) {
      const T before = mu[i], is = 1 / std::sqrt(var[i] + e), off = mt[i] - before;
      mus[i] = before;
      inv[i] = is;
      my[i] = off * is;
      my2[i] = (vt[i] + off * off) * is * is;
      var[i] = a * var[i] + gain * (vt[i] + a * off * off);
      mu[i] = a * before + gain * mt[i];
    }
    if (group_size > 0) {
      INDEPENDENT
      for (int64_t i = 0; i < c; ++i) {
        factor[i] = w[i] * w[i] * my2[i] + 2 * w[i] * b[i] * my[i] + b[i] * b[i];
      }
      spread_group_means(factor, c, group_size);
      INDEPENDENT
      for (int64_t i = 0; i < c; ++i) factor[i] = 1 / std::sqrt(factor[i] + T(scaling_eps));
    } else {
      INDEPENDENT
      for (int64_t i = 0; i < c; ++i) factor[i] = 1;
    }
    INDEPENDENT
    for (int64_t i = 0; i < c; ++i) {
      const T s = inv[i] * w[i] * factor[i];
      scale[i] = s;
      shift[i] = b[i] * factor[i] - s * mus[i];
    }
  }
  std::vector<Tensor> result = out.unbind(0);
  result.push_back(mu_t);
  result.push_back(var_t);
  return result;
}

template <typename T>
std::vector<Tensor> scan_backward(const Tensor& pz_t, const Tensor& rz_t, const Tensor& inv_t,
                                  const Tensor& mus_t, const Tensor& my_t, const Tensor& my2_t,
                                  const MaybeTensor& factor_t, const Tensor& u0, const Tensor& v0,
                                  const MaybeTensor& weight, const MaybeTensor& bias, double decay,
                                  int64_t group_size) {
  const int64_t n = pz_t.size(0), c = pz_t.size(1);
  Tensor out = at::empty({3, n, c}, pz_t.options());
  Tensor sums = at::zeros({2, c}, pz_t.options());
  Tensor u_t = u0.clone(), v_t = v0.clone();
  Tensor along_t = at::zeros({c}, pz_t.options());
  const Tensor weight_t = or_row_of(1, weight, pz_t), bias_t = or_row_of(0, bias, pz_t);
  const Tensor factors = or_row_of(1, group_size > 0 ? factor_t : MaybeTensor(), pz_t);
  const T *w = weight_t.data_ptr<T>(), *b = bias_t.data_ptr<T>();
  T *u = u_t.data_ptr<T>(), *v = v_t.data_ptr<T>();
  T *d_weight = sums.data_ptr<T>(), *d_bias = d_weight + c;
  T *along = along_t.data_ptr<T>(), *base = out.data_ptr<T>();
  const T keep = decay, pull = 1 - decay;
  for (int64_t t = 0; t < n; ++t) {
    const int64_t row = t * c;
    const T *pz = pz_t.data_ptr<T>() + row, *rz = rz_t.data_ptr<T>() + row;
    const T *inv = inv_t.data_ptr<T>() + row, *mus = mus_t.data_ptr<T>() + row;
    const T *my = my_t.data_ptr<T>() + row, *my2 = my2_t.data_ptr<T>() + row;
    const T* factor = factors.data_ptr<T>() + (group_size > 0 ? row : 0);
    T *of_g = base + row, *of_x = of_g + n * c, *shift = of_x + n * c;
    if (group_size > 0) {
      INDEPENDENT
      for (int64_t i = 0; i < c; ++i) along[i] = w[i] * rz[i] + b[i] * pz[i];
      spread_group_means(along, c, group_size);
    }
    INDEPENDENT
    for (int64_t i = 0; i < c; ++i) {
      const T wi = w[i], bi = b[i], k = factor[i], shrink = along[i] * k * k * k;
      const T p = k * pz[i] - shrink * (wi * my[i] + bi);
      const T r = k * rz[i] - shrink * (wi * my2[i] + bi * my[i]);
      d_bias[i] += p;
      d_weight[i] += r;
      const T vi = v[i], ui = u[i], is = inv[i];
      const T of_y = (wi * wi * shrink + pull * vi) * is;
      of_g[i] = wi * k * is;
      of_x[i] = -of_y * is;
      shift[i] = of_y * is * mus[i] - wi * bi * shrink * is - pull * ui;
      u[i] = keep * ui + (wi * p - pull * vi * my[i]) * is;
      v[i] = (1 - pull * my2[i]) * vi + wi * r;
    }
  }
  std::vector<Tensor> result = out.unbind(0);
  for (const Tensor& t : sums.unbind(0)) result.push_back(t);
  result.push_back(u_t);
  result.push_back(v_t);
  return result;
}

// Sums over positions of g and g * (x - mean), where |scale * x + shift| < limit.
template <typename T>
void sum_rows(const Tensor& x_t, const Tensor& g_t, const Tensor& mean_t, const Tensor& scale_t,
              const Tensor& shift_t, T limit, Tensor& sums) {
  const int64_t rows = mean_t.numel(), d = x_t.numel() / rows;
  const T *x = x_t.data_ptr<T>(), *g = g_t.data_ptr<T>(), *mean = mean_t.data_ptr<T>();
  const T *scale = scale_t.data_ptr<T>(), *shift = shift_t.data_ptr<T>();
  T *s0 = sums.data_ptr<T>(), *s1 = s0 + rows;
  at::parallel_for(0, rows, std::max<int64_t>(1, 32768 / d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T *xr = x + r * d, *gr = g + r * d, m = mean[r], a = scale[r], b = shift[r];
      T one = 0, dot = 0;
#pragma omp simd reduction(+ : one, dot)
      for (int64_t i = 0; i < d; ++i) {
        const T h = std::abs(a * xr[i] + b) >= limit ? T(0) : gr[i];
        one += h;
        dot += h * (xr[i] - m);
      }
      s0[r] = one;
      s1[r] = dot;
    }
  });
}

// of_g * g + of_x * x + rest, with g where |scale * x + shift| < limit and 0 elsewhere.
template <typename T>
void map_rows(const Tensor& x_t, const Tensor& g_t, const Tensor& of_g_t, const Tensor& of_x_t,
              const Tensor& rest_t, const Tensor& scale_t, const Tensor& shift_t, T limit,
              Tensor& out_t) {
  const int64_t rows = of_g_t.numel(), d = x_t.numel() / rows;
  const T *x = x_t.data_ptr<T>(), *g = g_t.data_ptr<T>(), *of_g = of_g_t.data_ptr<T>();
  const T *of_x = of_x_t.data_ptr<T>(), *rest = rest_t.data_ptr<T>();
  const T *scale = scale_t.data_ptr<T>(), *shift = shift_t.data_ptr<T>();
  T* out = out_t.data_ptr<T>();
  at::parallel_for(0, rows, std::max<int64_t>(1, 32768 / d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T *xr = x + r * d, *gr = g + r * d;
      const T p = of_g[r], q = of_x[r], c = rest[r], a = scale[r], b = shift[r];
      T* o = out + r * d;
      INDEPENDENT
      for (int64_t i = 0; i < d; ++i) {
        const T h = std::abs(a * xr[i] + b) >= limit ? T(0) : gr[i];
        o[i] = p * h + (q * xr[i] + c);
      }
    }
  });
}

Tensor dots(const Tensor& x, const Tensor& g, const Tensor& mean, const Tensor& scale,
            const Tensor& shift, double limit) {
  Tensor sums = at::empty({2, mean.size(0), mean.size(1)}, mean.options());
  if (x.scalar_type() == at::kDouble) {
    sum_rows<double>(x, g, mean, scale, shift, limit, sums);
  } else {
    sum_rows<float>(x, g, mean, scale, shift, static_cast<float>(limit), sums);
  }
  return sums;
}

Tensor input_grad(const Tensor& x, const Tensor& g, const Tensor& of_g, const Tensor& of_x,
                  const Tensor& rest, const Tensor& scale, const Tensor& shift, double limit) {
  Tensor out = at::empty_like(x);
  if (x.scalar_type() == at::kDouble) {
    map_rows<double>(x, g, of_g, of_x, rest, scale, shift, limit, out);
  } else {
    map_rows<float>(x, g, of_g, of_x, rest, scale, shift, static_cast<float>(limit), out);
  }
  return out;
}

std::vector<Tensor> forward(const Tensor& means, const Tensor& variances, const Tensor& mu,
                            const Tensor& var, const MaybeTensor& weight, const MaybeTensor& bias,
                            double decay, double eps, int64_t group_size, double scaling_eps) {
  const auto scan =
      means.scalar_type() == at::kDouble ? scan_forward<double> : scan_forward<float>;
  return scan(means, variances, mu, var, weight, bias, decay, eps, group_size, scaling_eps);
}

std::vector<Tensor> backward(const Tensor& pz, const Tensor& rz, const Tensor& inv,
                             const Tensor& mus, const Tensor& my, const Tensor& my2,
                             const MaybeTensor& factor, const Tensor& u, const Tensor& v,
                             const MaybeTensor& weight, const MaybeTensor& bias, double decay,
                             int64_t group_size) {
  const auto scan = pz.scalar_type() == at::kDouble ? scan_backward<double> : scan_backward<float>;
  return scan(pz, rz, inv, mus, my, my2, factor, u, v, weight, bias, decay, group_size);
}

}  // namespace

TORCH_LIBRARY(normlab_online, m) {
  m.def(
      "forward(Tensor means, Tensor variances, Tensor mu, Tensor var, Tensor? weight, Tensor? bias,"
      " float decay, float eps, int group_size, float scaling_eps) -> Tensor[]",
      &forward);
  m.def(
      "dots(Tensor x, Tensor g, Tensor mean, Tensor scale, Tensor shift, float limit) -> Tensor",
      &dots);
  m.def(
      "input_grad(Tensor x, Tensor g, Tensor of_g, Tensor of_x, Tensor rest, Tensor scale,"
      " Tensor shift, float limit) -> Tensor",
      &input_grad);
  m.def(
      "backward(Tensor pz, Tensor rz, Tensor inv, Tensor mus, Tensor my, Tensor my2, Tensor? factor,"
      " Tensor u, Tensor v, Tensor? weight, Tensor? bias, float decay, int group_size) -> Tensor[]",
      &backward);
}
