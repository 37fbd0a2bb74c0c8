// Batch norms that divide by another deviation than the standard one, as one node of the graph:
//
//   y = weight * k (x - M) + bias,  k = 1 / (c A + eps)
//
// with M the mean, and A the mean of all or of the largest absolute deviations. deviations.py is
// the definition, also of the derivatives. A statistic covers one channel of consecutive samples.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>
#include <vector>

#include "aligned_values.h"
#include "deviations_chosen.h"
#include "fused_rows.h"

namespace {

using at::Tensor;
using namespace normlab;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
// The optional of the standard library, or that of PyTorch 2.0.
using MaybeTensor = decltype(std::declval<at::IValue&>().toOptional<Tensor>());

struct Recipe {
  int64_t samples, k;            // the number of largest deviations; 0 is all
  double constant, rest, eps;    // c, and the c of a smaller last group
  bool reciprocal;               // whether k is handed out, or else (c A)^2

  double factor(double scaled) const { return 1 / (scaled + eps); }
  double constant_of(const Sizes& z, int64_t s) const {
    return z.samples(s / z.c) == z.v ? constant : rest;
  }
};

template <typename T>
Chosen<T> chosen_of(const Tensor& kept, const Tensor& over) {
  return {kept.data_ptr<T>() + 2 * over.numel(), over.data_ptr<int64_t>()};
}

// What is kept for backward: means, factors and least chosen deviations, (3, G * C), and *over*.
template <typename T>
struct Found {
  Tensor kept, over, mean, value;  // the last two (C,)

  Found(const Tensor& x, const Sizes& z, const Recipe& recipe)
      : kept(at::zeros({3, z.statistics()}, x.options())),
        over(at::zeros({z.statistics()}, x.options().dtype(at::kLong))) {
    const T* from = x.data_ptr<T>();
    T *means = kept.data_ptr<T>(), *factors = means + z.statistics();
    const auto sums = totals<T>(z, [=](int64_t) { return [=](int64_t at) { return from[at]; }; });
    for (int64_t s = 0; s < z.statistics(); ++s) means[s] = static_cast<T>(sums[s] / z.values(s));
    const AlignedVector<double> deviations = deviations_of(z, from, means, recipe);
    Tensor tracked = at::zeros({2, z.c}, at::TensorOptions(at::kDouble));
    double *of_mean = tracked.data_ptr<double>(), *of_value = of_mean + z.c;
    for (int64_t s = 0; s < z.statistics(); ++s) {
      const double count = recipe.k > 0 ? recipe.k : z.values(s);
      const double scaled = recipe.constant_of(z, s) * deviations[s] / count;
      const double factor = recipe.factor(scaled), share = z.samples(s / z.c) / double(z.n);
      factors[s] = static_cast<T>(factor);
      of_mean[s % z.c] += share * means[s];
      of_value[s % z.c] += share * (recipe.reciprocal ? factor : scaled * scaled);
    }
    const Tensor narrow = tracked.to(x.options());
    mean = narrow[0];
    value = narrow[1];
  }

 private:
  AlignedVector<double> deviations_of(const Sizes& z, const T* x, const T* means,
                                    const Recipe& recipe) {
    const Chosen<T> chosen = chosen_of<T>(kept, over);
    if (recipe.k > 0) return largest(z, x, means, recipe.k, chosen);
    return totals<T>(z, [=](int64_t s) {
      const T m = means[s];
      return [=](int64_t at) { return std::abs(x[at] - m); };
    });
  }
};

template <typename T>
AlignedVector<T> or_else(const Tensor& t, int64_t c, T value) {
  if (!t.defined()) return AlignedVector<T>(c, value);
  const Tensor dense = t.contiguous();
  return AlignedVector<T>(dense.data_ptr<T>(), dense.data_ptr<T>() + c);
}

template <typename T>
Tensor output(const Tensor& x, const Sizes& z, const Tensor& kept, const Tensor& weight,
              const Tensor& bias) {
  Tensor y = at::empty_like(x);
  const AlignedVector<T> w = or_else<T>(weight, z.c, 1), b = or_else<T>(bias, z.c, 0);
  AlignedVector<T> scales(z.statistics()), shifts(z.statistics());
  const T *means = kept.data_ptr<T>(), *factors = means + z.statistics(), *from = x.data_ptr<T>();
  for (int64_t s = 0; s < z.statistics(); ++s) {
    scales[s] = factors[s] * w[s % z.c];
    shifts[s] = b[s % z.c];
  }
  const T *scale = scales.data(), *shift = shifts.data();
  T* to = y.data_ptr<T>();
  each_place(z, [=](int64_t s) {
    const T m = means[s], as = scale[s], bs = shift[s];
    return [=](int64_t at) { to[at] = as * (from[at] - m) + bs; };
  });
  return y;
}

// gx = scale * (g - mean(g)) + slope * (s - mean(s)), where s has the signs of the deviations in A,
// and 0 elsewhere.
template <typename T>
struct Gradients {
  Tensor x, weight, bias;

  Gradients(const Tensor& x_t, const Sizes& z, const Recipe& recipe, const Tensor& kept,
            const Tensor& over, const Tensor& weight_t, const Tensor& g_t)
      : x(at::empty_like(x_t)), weight(at::zeros({2, z.c}, x_t.options().dtype(at::kDouble))) {
    const T *from = x_t.data_ptr<T>(), *g = g_t.data_ptr<T>();
    const T *means = kept.data_ptr<T>(), *factors = means + z.statistics();
    const AlignedVector<T> w = or_else<T>(weight_t, z.c, 1);
    const auto s0 = totals<T>(z, [=](int64_t) { return [=](int64_t at) { return g[at]; }; });
    const auto s1 = totals<T>(z, [=](int64_t s) {
      const T m = means[s];
      return [=](int64_t at) { return g[at] * (from[at] - m); };
    });
    const Chosen<T> chosen = chosen_of<T>(kept, over);
    const AlignedVector<double> signs = signs_of(z, from, means, chosen);
    AlignedVector<T> scales(z.statistics()), slopes(z.statistics()), rests(z.statistics());
    double *of_weight = weight.template data_ptr<double>(), *of_bias = of_weight + z.c;
    for (int64_t s = 0; s < z.statistics(); ++s) {
      const double k = factors[s], wj = w[s % z.c];
      const double slope = -recipe.constant_of(z, s) * k * k * wj * s1[s] /
                           (recipe.k > 0 ? recipe.k : z.values(s));
      of_weight[s % z.c] += s1[s] * k;
      of_bias[s % z.c] += s0[s];
      scales[s] = static_cast<T>(k * wj);
      slopes[s] = static_cast<T>(slope);
      rests[s] = static_cast<T>(-(k * wj * s0[s] + slope * signs[s]) / z.values(s));
    }
    write(z, from, g, means, chosen, scales.data(), slopes.data(), rests.data());
  }

 private:
  static AlignedVector<double> signs_of(const Sizes& z, const T* x, const T* means,
                                      const Chosen<T>& chosen) {
    const T* least = chosen.least;
    AlignedVector<double> found = totals<T>(z, [=](int64_t s) {
      const T m = means[s], from = least[s];
      return [=](int64_t at) { return sign_from(x[at] - m, from); };
    });
    chosen.each_left_out(z, x, means, [&](int64_t s, int64_t at) {
      found[s] -= sign_from(x[at] - means[s], least[s]);
    });
    return found;
  }

  void write(const Sizes& z, const T* from, const T* g, const T* means, const Chosen<T>& chosen,
             const T* scale, const T* slope, const T* rest) {
    T* to = x.template data_ptr<T>();
    const T* least = chosen.least;
    each_place(z, [=](int64_t s) {
      const T m = means[s], as = scale[s], bs = slope[s], rs = rest[s], low = least[s];
      return [=](int64_t at) { to[at] = as * g[at] + (bs * sign_from(from[at] - m, low) + rs); };
    });
    chosen.each_left_out(
        z, from, means, [=](int64_t s, int64_t at) { to[at] = scale[s] * g[at] + rest[s]; });
  }
};

template <typename T>
variable_list forward_of(AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                         const Tensor& bias, const Recipe& recipe) {
  const Sizes z(x, recipe.samples);
  const Found<T> found(x, z, recipe);
  ctx->save_for_backward({x, weight, bias, found.kept, found.over});
  return {output<T>(x, z, found.kept, weight, bias), found.mean, found.value};
}

template <typename T>
variable_list backward_of(const variable_list& saved, const Recipe& recipe, const Tensor& g) {
  const Tensor &x = saved[0], &weight = saved[1], &bias = saved[2];
  const Sizes z(x, recipe.samples);
  const Gradients<T> found(x, z, recipe, saved[3], saved[4], weight, g);
  const Tensor narrow = found.weight.to(x.options());
  return {found.x, weight.defined() ? narrow[0] : Tensor(), bias.defined() ? narrow[1] : Tensor(),
          Tensor()};
}

class Normalize : public torch::autograd::Function<Normalize> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const MaybeTensor& weight,
                               const MaybeTensor& bias, const Recipe& recipe) {
    const Tensor w = weight.value_or(Tensor()), b = bias.value_or(Tensor());
    const bool wide = x.scalar_type() == at::kDouble;
    const variable_list found = wide ? forward_of<double>(ctx, x, w, b, recipe)
                                     : forward_of<float>(ctx, x, w, b, recipe);
    ctx->saved_data["counts"] = std::vector<int64_t>{recipe.samples, recipe.k};
    ctx->saved_data["numbers"] = std::vector<double>{recipe.constant, recipe.rest, recipe.eps};
    ctx->mark_non_differentiable({found[1], found[2]});
    return found;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const std::vector<int64_t> counts = ctx->saved_data["counts"].toIntVector();
    const std::vector<double> v = ctx->saved_data["numbers"].toDoubleVector();
    const Recipe recipe{counts[0], counts[1], v[0], v[1], v[2], false};
    const Tensor g = grads[0].to(saved[0].scalar_type()).contiguous();
    return saved[0].scalar_type() == at::kDouble ? backward_of<double>(saved, recipe, g)
                                                 : backward_of<float>(saved, recipe, g);
  }
};

std::tuple<Tensor, Tensor, Tensor> deviated(const Tensor& x, const MaybeTensor& weight,
                                            const MaybeTensor& bias, int64_t samples, int64_t k,
                                            at::ArrayRef<double> constants, double eps,
                                            bool reciprocal) {
  const Recipe recipe{samples, k, constants[0], constants[1], eps, reciprocal};
  const variable_list found = Normalize::apply(x, weight, bias, recipe);
  return {found[0], found[1], found[2]};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(normlab_engine, m) {
  m.def(
      "deviated(Tensor x, Tensor? weight, Tensor? bias, int samples, int k, float[] constants,"
      " float eps, bool reciprocal) -> (Tensor, Tensor, Tensor)",
      &deviated);
}
