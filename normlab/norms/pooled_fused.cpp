// Normalizers that divide by a mixture of pooled moments, as one node of the graph:
//
//   M = sum_k p_k M_k,  V = sum_k q_k V_k,  y = weight * (r (x - M) / sqrt(V + eps) + d) + bias
//
// where M_k and V_k are the moments of a union of rows (a row is one channel of one sample). What
// engine.py and pooling.py compute from the layers' own formulas is the definition; here the
// derivatives are written out. pooled_moments.h has the part about moments.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <tuple>
#include <utility>
#include <vector>

#include "fused_rows.h"
#include "pooled_moments.h"

namespace {

using namespace normlab;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
// The standard library's optional, or in PyTorch 2.0 its own.
using MaybeTensor = decltype(std::declval<at::IValue&>().toOptional<Tensor>());
using Three = std::tuple<Tensor, Tensor, Tensor>;

template <typename T>
Tensor moments_of(const Tensor& x) {
  const int64_t rows = x.size(0) * x.size(1), d = x.numel() / rows;
  Tensor found = at::empty({2, x.size(0), x.size(1)}, x.options());
  const T* data = x.data_ptr<T>();
  T *mean = found.data_ptr<T>(), *var = mean + rows;
  at::parallel_for(0, rows, normlab::grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) normlab::row_moments(data + i * d, d, mean[i], var[i]);
  });
  return found;
}

// y = a (x - b) + c
template <typename T>
Tensor affine(const Tensor& x, const Solution& s, const Values& weight, const Values& bias) {
  const int64_t rows = s.n * s.c, d = x.numel() / rows;
  Tensor y = at::empty_like(x);
  const T* data = x.data_ptr<T>();
  T* out = y.data_ptr<T>();
  at::parallel_for(0, rows, normlab::grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double w = weight.empty() ? 1.0 : weight[i % s.c];
      const double scale = w * s.r[i] * s.inverse[i];
      const T a = static_cast<T>(scale), b = static_cast<T>(s.mixed.mean[i]);
      // what the mean lost as a T is in the shift
      const double shift = w * s.d[i] + (bias.empty() ? 0.0 : bias[i % s.c]);
      const T c = static_cast<T>(shift - scale * (s.mixed.mean[i] - static_cast<double>(b)));
      const T* __restrict row = data + i * d;
      T* __restrict to = out + i * d;
      for (int64_t k = 0; k < d; ++k) to[k] = a * (row[k] - b) + c;
    }
  });
  return y;
}

// Sums of g, and of g times what is centred by the row's own mean.
template <typename T>
Moments dots_of(const Tensor& g, const Tensor& x, const Tensor& moments) {
  const int64_t rows = moments.numel() / 2, d = x.numel() / rows;
  Moments out{Values(rows), Values(rows)};
  const T *gs = g.data_ptr<T>(), *xs = x.data_ptr<T>(), *mean = moments.data_ptr<T>();
  at::parallel_for(0, rows, normlab::grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T s0, s1;
      normlab::row_dots(gs + i * d, xs + i * d, mean[i], d, s0, s1);
      out.mean[i] = s0;
      out.var[i] = s1;
    }
  });
  return out;
}

// gx = scale g + 2 dvar / d (x - mean) + dmean / d, about the row's own mean.
template <typename T>
Tensor input_grad(const Tensor& g, const Tensor& x, const Tensor& moments, const Values& scale,
                  const Moments& grad) {
  const int64_t rows = moments.numel() / 2, d = x.numel() / rows;
  Tensor gx = at::empty_like(x);
  const T *gs = g.data_ptr<T>(), *xs = x.data_ptr<T>(), *mean = moments.data_ptr<T>();
  T* out = gx.data_ptr<T>();
  at::parallel_for(0, rows, normlab::grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T of_g = static_cast<T>(scale[i]), of_x = static_cast<T>(2 * grad.var[i] / d);
      const T rest = static_cast<T>(grad.mean[i] / d), m = mean[i];
      const T *__restrict gr = gs + i * d, *__restrict xr = xs + i * d;
      T* __restrict to = out + i * d;
      for (int64_t k = 0; k < d; ++k) to[k] = of_g * gr[k] + (of_x * (xr[k] - m) + rest);
    }
  });
  return gx;
}

// The gradient of the batch's moments takes in its own past: see streaming.py.
void stream(Values& dmean, Values& dvar, const Constants& constants, double share) {
  const int64_t c = dmean.size();
  Tensor now = at::empty({2, c}, at::TensorOptions(at::kDouble));
  std::copy(dmean.begin(), dmean.end(), now.data_ptr<double>());
  std::copy(dvar.begin(), dvar.end(), now.data_ptr<double>() + c);
  Tensor recent = constants.state[0], gradients = constants.state[2];
  const Tensor &past = constants.state[1], &batches = constants.state[3];
  const double count = gradients.item<double>();
  const Tensor next = (recent * count + now.to(recent.scalar_type())) / (count + 1);
  if (batches.item<int64_t>() == 0) share = 1;
  const Values used = values_of(next * share + past * (1 - share));
  if (at::isfinite(next).all().item<bool>()) {
    recent.copy_(next);
    gradients.add_(1);
  }
  dmean.assign(used.begin(), used.begin() + c);
  dvar.assign(used.begin() + c, used.end());
}

Tensor narrow(const Values& values, const Tensor& like) {
  Tensor wide = at::empty(like.sizes(), like.options().dtype(at::kDouble));
  std::copy(values.begin(), values.end(), wide.data_ptr<double>());
  return wide.to(like.options());
}

// The gradients of everything that has one value a channel or less, and those of the rows' moments.
struct Gradients {
  Values weight, bias, p, q, gates, scale;
  Moments rows;

  Gradients(const Solution& s, const Moments& dots, const Values& w, const Constants& constants)
      : weight(s.c), bias(s.c), p(s.pools.size()), q(s.pools.size()), gates(s.gates.size()),
        scale(s.n * s.c), rows{Values(s.n * s.c), Values(s.n * s.c)} {
    const Moments mixed = of_mixture(s, dots, w);
    for (size_t k = 0; k < s.pools.size(); ++k) through(s, k, mixed, constants);
    for (size_t k = s.gates.size(); k-- > 0;) {
      const double share = share_of(s.gates[k]);
      // d share / d g is (1 - share)^2, and a straight-through gate moves g by half
      gates[k] = 0.5 * (1 - share) * (1 - share) * turn_back(s.turns[k], s.step(k), share, rows);
    }
  }

 private:
  Moments of_mixture(const Solution& s, const Moments& dots, const Values& w) {
    Moments grad{Values(s.n * s.c), Values(s.n * s.c)};
    for (int64_t i = 0; i < s.n * s.c; ++i) {
      const double wi = w.empty() ? 1.0 : w[i % s.c], s0 = dots.mean[i];
      const double along = dots.var[i] + s0 * (s.turns[0].mean[i] - s.mixed.mean[i]);
      scale[i] = wi * s.r[i] * s.inverse[i];
      weight[i % s.c] += along * s.inverse[i] * s.r[i] + s0 * s.d[i];
      bias[i % s.c] += s0;
      grad.mean[i] = -scale[i] * s0;
      grad.var[i] = along * wi * s.r[i] * s.slope[i];
    }
    return grad;
  }

  void through(const Solution& s, size_t k, const Moments& mixed, const Constants& constants) {
    const Pool& pool = s.pools[k];
    Values dmean = pool.rows.add(mixed.mean), dvar = pool.rows.add(mixed.var);
    for (int64_t u = 0; u < pool.rows.count; ++u) {
      p[k] += dmean[u] * pool.moments.mean[u];
      q[k] += dvar[u] * pool.moments.var[u];
      dmean[u] *= s.p[k];
      dvar[u] *= s.q[k];
    }
    if (constants.base.defined()) stream(dmean, dvar, constants, s.recipe.share);
    pool.spread(dmean, dvar, s.turns.back(), rows);
  }
};

class Normalize : public torch::autograd::Function<Normalize> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const MaybeTensor& maybe_weight,
                               const MaybeTensor& maybe_bias, const MaybeTensor& maybe_p,
                               const MaybeTensor& maybe_q, const MaybeTensor& maybe_gates,
                               const Recipe& recipe, const Constants& constants) {
    const Tensor weight = maybe_weight.value_or(Tensor()), bias = maybe_bias.value_or(Tensor());
    const Tensor p = maybe_p.value_or(Tensor()), q = maybe_q.value_or(Tensor());
    const Tensor gates = maybe_gates.value_or(Tensor());
    const bool wide = x.scalar_type() == at::kDouble;
    const Tensor moments = wide ? moments_of<double>(x) : moments_of<float>(x);
    const Solution s(moments, recipe, constants, p, q, gates);
    const Values w = values_of(weight), b = values_of(bias);
    const Tensor y = wide ? affine<double>(x, s, w, b) : affine<float>(x, s, w, b);
    const auto [mean, var] = s.statistics(x.options(), constants.mu.defined(),
                                         x.numel() / (s.n * s.c));
    ctx->save_for_backward({x, moments, weight, bias, p, q, gates, constants.mu, constants.sigma,
                            constants.base});
    // not as a saved variable: other backward passes may move it before this one
    if (!constants.state.empty()) ctx->saved_data["state"] = constants.state;
    ctx->saved_data["pools"] = recipe.pools;
    ctx->saved_data["numbers"] = recipe.numbers();
    ctx->mark_non_differentiable({mean, var});
    return {y, mean, var};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    TORCH_CHECK(!at::GradMode::is_enabled(),
                "compiled normalizers can be differentiated once (create_graph was asked); switch "
                "the model with normlab.norms.plain_operators first");
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &moments = saved[1];
    const Recipe recipe = Recipe::of(ctx->saved_data["pools"].toIntVector(),
                                     ctx->saved_data["numbers"].toDoubleVector());
    Constants constants{saved[7], saved[8], saved[9], {}};
    const auto state = ctx->saved_data.find("state");
    if (state != ctx->saved_data.end()) constants.state = state->second.toTensorVector();
    const Solution s(moments, recipe, constants, saved[4], saved[5], saved[6]);
    const Tensor g = grads[0].to(x.scalar_type()).contiguous();
    const bool wide = x.scalar_type() == at::kDouble;
    const Moments dots = wide ? dots_of<double>(g, x, moments) : dots_of<float>(g, x, moments);
    const Gradients found(s, dots, values_of(saved[2]), constants);
    variable_list result(8);
    if (ctx->needs_input_grad(0))
      result[0] = wide ? input_grad<double>(g, x, moments, found.scale, found.rows)
                       : input_grad<float>(g, x, moments, found.scale, found.rows);
    const Values* parts[] = {&found.weight, &found.bias, &found.p, &found.q, &found.gates};
    for (int k = 0; k < 5; ++k)
      if (saved[2 + k].defined()) result[1 + k] = narrow(*parts[k], saved[2 + k]);
    return result;
  }
};

Three apply(const Tensor& x, const MaybeTensor& weight, const MaybeTensor& bias,
            const MaybeTensor& p, const MaybeTensor& q, const MaybeTensor& gates,
            const Recipe& recipe, const Constants& constants) {
  const variable_list found =
      Normalize::apply(x, weight, bias, p, q, gates, recipe, constants);
  return {found[0], found[1], found[2]};
}

Three mixed(const Tensor& x, const MaybeTensor& weight, const MaybeTensor& bias,
            at::IntArrayRef pools, double eps, const MaybeTensor& p, const MaybeTensor& q,
            const MaybeTensor& gates, bool unbiased) {
  Recipe recipe;
  recipe.pools = pools.vec();
  recipe.eps = eps;
  recipe.unbiased = unbiased;
  return apply(x, weight, bias, p, q, gates, recipe, {});
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
      "mixed(Tensor x, Tensor? weight, Tensor? bias, int[] pools, float eps, Tensor? p=None,"
      " Tensor? q=None, Tensor? gates=None, bool unbiased=False) -> (Tensor, Tensor, Tensor)",
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
