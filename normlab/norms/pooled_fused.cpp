// Normalizers that divide by a mixture of pooled moments, as one node of the graph:
//
//   M = sum_k p_k M_k,  V = sum_k q_k V_k,  y = weight * (r (x - M) / sqrt(V + eps) + d) + bias
//
// where M_k and V_k are the moments of a union of rows (a row is one channel of one sample), and p
// and q are numbers that the layer has computed from its logits, with their derivatives. A mean
// square is a variance about M = 0. engine.py
// and pooling.py have the definition, from the layers' own formulas. Here the derivatives are
// written out; pooled_moments.h has the part about moments.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <tuple>
#include <utility>
#include <vector>

#include "fused_rows.h"
#include "pooled_gradients.h"
#include "pooled_moments.h"

namespace {

using namespace normlab;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
// The optional of the standard library, or that of PyTorch 2.0.
using MaybeTensor = decltype(std::declval<at::IValue&>().toOptional<Tensor>());
using Three = std::tuple<Tensor, Tensor, Tensor>;

// The moments of the rows, (2, N, C); without positions there is nothing to keep.
template <typename T>
Tensor moments_of(const Tensor& x) {
  const int64_t rows = x.size(0) * x.size(1), d = x.numel() / rows;
  if (d == 1) return {};
  Tensor found = at::empty({2, x.size(0), x.size(1)}, x.options());
  const T* data = x.data_ptr<T>();
  T *mean = found.data_ptr<T>(), *var = mean + rows;
  at::parallel_for(0, rows, grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) row_moments(data + i * d, d, mean[i], var[i]);
  });
  return found;
}

template <typename T>
Rows<T> rows_of(const Tensor& two, const Tensor& values) {
  const int64_t n = values.size(0), c = values.size(1);
  if (!two.defined()) return {values.data_ptr<T>(), nullptr, c};
  return {two.data_ptr<T>(), two.data_ptr<T>() + n * c, c};
}

// y = a (x - b) + c
template <typename T>
Map<T> affine_map(const Solution<T>& s, const Values& weight, const Values& bias) {
  Map<T> map(s.n * s.c);
  Line line(s.c);
  const double *w = weight.data(), *add = bias.data();
  const double *mean = line.mean.data(), *inverse = line.inverse.data();
  const double *r = line.r.data(), *d = line.d.data();
  for (int64_t i = 0; i < s.n; ++i) {
    s.solve(i, line);
    T *a = &map.a[i * s.c], *b = &map.b[i * s.c], *c = &map.c[i * s.c];
    INDEPENDENT
    for (int64_t j = 0; j < s.c; ++j) {
      const double scale = w[j] * r[j] * inverse[j];
      a[j] = static_cast<T>(scale);
      b[j] = static_cast<T>(mean[j]);
      // the shift contains what the mean lost when it was rounded to T
      c[j] = static_cast<T>(w[j] * d[j] + add[j] - scale * (mean[j] - static_cast<double>(b[j])));
    }
  }
  return map;
}

template <typename T>
Tensor affine(const Tensor& x, const Map<T>& map) {
  Tensor y = at::empty_like(x);
  const int64_t rows = map.rows;
  const T *from = x.data_ptr<T>(), *a = map.a.get(), *b = map.b.get(), *c = map.c.get();
  T* to = y.data_ptr<T>();
  each_value(rows, x.numel() / rows, [=](int64_t r) {
    const T ar = a[r], br = b[r], cr = c[r];
    return [=](int64_t k) { to[k] = ar * (from[k] - br) + cr; };
  });
  return y;
}

// The same in one pass for rows of one value, without a map as large as the data.
template <typename T>
Tensor affine_of_values(const Tensor& x, const Solution<T>& s, const Values& weight,
                        const Values& bias) {
  Tensor y = at::empty_like(x);
  Line line(s.c);
  const double *w = weight.data(), *add = bias.data();
  const double *mean = line.mean.data(), *inverse = line.inverse.data();
  const double *r = line.r.data(), *d = line.d.data();
  for (int64_t i = 0; i < s.n; ++i) {
    s.solve(i, line);
    const T* from = x.data_ptr<T>() + i * s.c;
    T* to = y.data_ptr<T>() + i * s.c;
    INDEPENDENT
    for (int64_t j = 0; j < s.c; ++j)
      to[j] = static_cast<T>(w[j] * (r[j] * inverse[j] * (from[j] - mean[j]) + d[j]) + add[j]);
  }
  return y;
}

// The sums of g, and of g times x minus the mean of the row, (2, N, C). Without positions, they are
// g and 0, and nothing is summed.
template <typename T>
Tensor dots_of(const Tensor& g, const Tensor& x, const Tensor& moments) {
  if (!moments.defined()) return {};
  const int64_t rows = moments.numel() / 2, d = x.numel() / rows;
  Tensor found = at::empty_like(moments);
  const T *gs = g.data_ptr<T>(), *xs = x.data_ptr<T>(), *mean = moments.data_ptr<T>();
  T *s0 = found.data_ptr<T>(), *s1 = s0 + rows;
  at::parallel_for(0, rows, grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) row_dots(gs + i * d, xs + i * d, mean[i], d, s0[i], s1[i]);
  });
  return found;
}

// gx = a g + b (x - mean) + c, where mean is that of the row.
template <typename T>
Tensor input_grad(const Tensor& g, const Tensor& x, const Rows<T>& own, const Map<T>& map) {
  Tensor gx = at::empty_like(x);
  const int64_t rows = map.rows;
  const T *gs = g.data_ptr<T>(), *xs = x.data_ptr<T>(), *mean = own.first;
  const T *a = map.a.get(), *b = map.b.get(), *c = map.c.get();
  T* to = gx.data_ptr<T>();
  each_value(rows, x.numel() / rows, [=](int64_t r) {
    const T ar = a[r], br = b[r], cr = c[r], m = mean[r];
    return [=](int64_t k) { to[k] = ar * gs[k] + (br * (xs[k] - m) + cr); };
  });
  return gx;
}

template <typename T>
Tensor narrow(const Values& values, const at::TensorOptions& options) {
  Tensor found = at::empty({static_cast<int64_t>(values.size())}, options);
  std::copy(values.begin(), values.end(), found.data_ptr<T>());
  return found;
}

Values or_else(const Tensor& t, int64_t c, double value) {
  return t.defined() ? values_of(t) : Values(c, value);
}

// Computes the gradients of the logits from those of the ratios that were made of them.
Values of_logits(const Values& of_ratios, const std::vector<double>& slopes) {
  const size_t logits = slopes.size() / of_ratios.size();
  Values found(logits);
  for (size_t k = 0; k < slopes.size(); ++k) found[k % logits] += of_ratios[k / logits] * slopes[k];
  return found;
}

// What the forward pass keeps, in this order; whatever a kind does not have is undefined.
struct Kept {
  Tensor x, moments, weight, bias, gates, pooled;
  Constants constants;

  static Kept of(AutogradContext* ctx) {
    const variable_list s = ctx->get_saved_variables();
    Kept kept{s[0], s[1], s[2], s[3], s[4], s[5], {s[6], s[7], s[8], {}}};
    const auto state = ctx->saved_data.find("state");
    if (state != ctx->saved_data.end()) kept.constants.state = state->second.toTensorVector();
    return kept;
  }

  void save(AutogradContext* ctx) const {
    ctx->save_for_backward({x, moments, weight, bias, gates, pooled, constants.mu,
                            constants.sigma, constants.base});
    // it is not a saved variable, because other backward passes may change it before this one
    if (!constants.state.empty()) ctx->saved_data["state"] = constants.state;
  }

  template <typename T>
  Solution<T> solution(const Recipe& recipe) const {
    const int64_t n = x.size(0), c = x.size(1);
    return {n, c, rows_of<T>(moments, x), recipe, constants, gates, pooled};
  }
};

template <typename T>
variable_list forward_of(Kept& kept, const Recipe& recipe) {
  kept.moments = moments_of<T>(kept.x);
  const Solution<T> s = kept.solution<T>(recipe);
  kept.pooled = s.pooled;
  const Values w = or_else(kept.weight, s.c, 1), b = or_else(kept.bias, s.c, 0);
  const int64_t d = kept.x.numel() / (s.n * s.c);
  const auto [mean, var] = s.statistics(kept.x.options(), d);
  const Tensor y = d == 1 ? affine_of_values(kept.x, s, w, b) : affine(kept.x, affine_map(s, w, b));
  return {y, mean, var};
}

template <typename T>
variable_list backward_of(const Kept& kept, const Recipe& recipe, const Tensor& g, bool of_x) {
  const Solution<T> s = kept.solution<T>(recipe);
  const Tensor dots = dots_of<T>(g, kept.x, kept.moments);
  const int64_t d = kept.x.numel() / (s.n * s.c);
  Tensor gx = d == 1 ? at::empty_like(kept.x) : Tensor();
  const Gradients<T> found(s, rows_of<T>(dots, g), or_else(kept.weight, s.c, 1), kept.constants, d,
                           d == 1 ? gx.data_ptr<T>() : nullptr);
  variable_list result(8);
  if (of_x) result[0] = d == 1 ? gx : input_grad(g, kept.x, s.own, found.map);
  const auto keep = [&](int k, const Values& values, bool learned) {
    if (learned) result[k] = narrow<T>(values, kept.x.options());
  };
  keep(1, found.weight, kept.weight.defined());
  keep(2, found.bias, kept.bias.defined());
  keep(3, of_logits(found.p, recipe.of_p), !recipe.of_p.empty());
  keep(4, of_logits(found.q, recipe.of_q), !recipe.of_q.empty());
  keep(5, found.gates, kept.gates.defined());
  return result;
}

class Normalize : public torch::autograd::Function<Normalize> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const MaybeTensor& weight,
                               const MaybeTensor& bias, const MaybeTensor& /*p_logits*/,
                               const MaybeTensor& /*q_logits*/, const MaybeTensor& gates,
                               const Recipe& recipe, const Constants& constants) {
    // the logits may freeze before this backward pass, so the recipe has their numbers
    Kept kept{x, {}, or_none(weight), or_none(bias), or_none(gates), {}, constants};
    const bool wide = x.scalar_type() == at::kDouble;
    const variable_list found =
        wide ? forward_of<double>(kept, recipe) : forward_of<float>(kept, recipe);
    kept.save(ctx);
    recipe.save(ctx->saved_data);
    ctx->mark_non_differentiable({found[1], found[2]});
    return found;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    TORCH_CHECK(!at::GradMode::is_enabled(),
                "compiled normalizers can be differentiated once (create_graph was asked); switch "
                "the model with normlab.norms.plain_operators first");
    const Kept kept = Kept::of(ctx);
    const Recipe recipe = Recipe::of(ctx->saved_data);
    const Tensor g = grads[0].to(kept.x.scalar_type()).contiguous();
    const bool of_x = ctx->needs_input_grad(0), wide = kept.x.scalar_type() == at::kDouble;
    return wide ? backward_of<double>(kept, recipe, g, of_x)
                : backward_of<float>(kept, recipe, g, of_x);
  }

 private:
  static Tensor or_none(const MaybeTensor& t) { return t.value_or(Tensor()); }
};

Three apply(const Tensor& x, const MaybeTensor& weight, const MaybeTensor& bias,
            const MaybeTensor& p_logits, const MaybeTensor& q_logits, const MaybeTensor& gates,
            const Recipe& recipe, const Constants& constants) {
  const variable_list found =
      Normalize::apply(x, weight, bias, p_logits, q_logits, gates, recipe, constants);
  return {found[0], found[1], found[2]};
}

Three mixed(const Tensor& x, const MaybeTensor& weight, const MaybeTensor& bias,
            at::IntArrayRef pools, double eps, const MaybeTensor& p_logits,
            const MaybeTensor& q_logits, at::ArrayRef<double> p, at::ArrayRef<double> q,
            at::ArrayRef<double> of_p, at::ArrayRef<double> of_q, const MaybeTensor& gates,
            bool unbiased, bool about_zero) {
  Recipe recipe;
  recipe.pools = pools.vec();
  recipe.p = p.vec();
  recipe.q = q.vec();
  recipe.of_p = of_p.vec();
  recipe.of_q = of_q.vec();
  recipe.eps = eps;
  recipe.unbiased = unbiased;
  recipe.about_zero = about_zero;
  return apply(x, weight, bias, p_logits, q_logits, gates, recipe, {});
}

Three renormalized(const Tensor& x, const MaybeTensor& weight, const MaybeTensor& bias,
                   at::IntArrayRef pools, double eps, const Tensor& mu, const Tensor& sigma,
                   double r_least, double r_limit, double d_limit, bool eps_outside) {
  Recipe recipe;
  recipe.pools = pools.vec();
  recipe.eps = eps;
  recipe.r_least = r_least;
  recipe.r_limit = r_limit;
  recipe.d_limit = d_limit;
  recipe.eps_outside = eps_outside;
  Constants constants;
  constants.mu = mu;
  constants.sigma = sigma;
  return apply(x, weight, bias, {}, {}, {}, recipe, constants);
}

Three streamed(const Tensor& x, const MaybeTensor& weight, const MaybeTensor& bias,
               at::IntArrayRef pools, double eps, const Tensor& base, double gain,
               at::TensorList state, double share) {
  Recipe recipe;
  recipe.pools = pools.vec();
  recipe.eps = eps;
  recipe.gain = gain;
  recipe.share = share;
  Constants constants;
  constants.base = base;
  constants.state = state.vec();
  return apply(x, weight, bias, {}, {}, {}, recipe, constants);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(normlab_engine, m) {
  m.def(
      "mixed(Tensor x, Tensor? weight, Tensor? bias, int[] pools, float eps,"
      " Tensor? p_logits=None, Tensor? q_logits=None, float[] p=[], float[] q=[],"
      " float[] of_p=[], float[] of_q=[], Tensor? gates=None, bool unbiased=False,"
      " bool about_zero=False)"
      " -> (Tensor, Tensor, Tensor)",
      &mixed);
  m.def(
      "renormalized(Tensor x, Tensor? weight, Tensor? bias, int[] pools, float eps, Tensor mu,"
      " Tensor sigma, float r_least, float r_limit, float d_limit, bool eps_outside)"
      " -> (Tensor, Tensor, Tensor)",
      &renormalized);
  m.def(
      "streamed(Tensor x, Tensor? weight, Tensor? bias, int[] pools, float eps, Tensor base,"
      " float gain, Tensor[] state, float share) -> (Tensor, Tensor, Tensor)",
      &streamed);
}
