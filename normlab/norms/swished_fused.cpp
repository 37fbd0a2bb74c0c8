// A learned swish of each value over the deviation of its group of channels, as one node:
//
//   y = weight * x s / sqrt(V + eps) + bias,  s = sigmoid(v x)
//
// with V the biased variance of a group of one sample. evonorm.py is the definition; here the
// derivatives are written out. A group has C / G channels with d values each.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "aligned_values.h"
#include "fused_rows.h"

namespace {

using at::Tensor;
using namespace normlab;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
// The optional of the standard library, or that of PyTorch 2.0.
using MaybeTensor = decltype(std::declval<at::IValue&>().toOptional<Tensor>());

struct Sizes {
  int64_t n, c, groups, block, d;  // a block is the channels of a group

  Sizes(const Tensor& x, int64_t groups)
      : n(x.size(0)), c(x.size(1)), groups(groups), block(c / groups), d(x.numel() / (n * c)) {}

  int64_t values() const { return block * d; }  // in a group

  // Calls of_group(i, k) for group k of sample i, in threads that share no channel.
  template <typename OfGroup>
  void each(const OfGroup& of_group) const {
    at::parallel_for(0, groups, grain(n * values()), [&](int64_t begin, int64_t end) {
      for (int64_t i = 0; i < n; ++i)
        for (int64_t k = begin; k < end; ++k) of_group(i, k);
    });
  }

  // Calls of_channel(j)(place) for each value of group k of sample i.
  template <typename OfChannel>
  void each_value(int64_t i, int64_t k, const OfChannel& of_channel) const {
    const int64_t first = k * block, start = (i * c + first) * d;
    if (d == 1) {
      INDEPENDENT
      for (int64_t j = 0; j < block; ++j) of_channel(first + j)(start + j);
      return;
    }
    for (int64_t j = 0; j < block; ++j) {
      const auto of_value = of_channel(first + j);
      INDEPENDENT
      for (int64_t p = start + j * d; p < start + (j + 1) * d; ++p) of_value(p);
    }
  }

  // Writes the sum of term(place) over the values of each channel of the group.
  template <typename T, typename Term>
  void sums(int64_t i, int64_t k, const Term& term, T* to) const {
    const int64_t first = k * block, start = (i * c + first) * d;
    if (d == 1) {
      INDEPENDENT
      for (int64_t j = 0; j < block; ++j) to[first + j] = term(start + j);
      return;
    }
    for (int64_t j = 0; j < block; ++j) {
      const int64_t from = start + j * d;
      to[first + j] = static_cast<T>(sum<T>(d, [&](int64_t p) { return term(from + p); }));
    }
  }
};

Tensor ones_unless(const Tensor& weight, const Tensor& like) {
  return weight.defined() ? weight.contiguous() : at::ones_like(like);
}

// Means and 1 / sqrt(V + eps) of all groups, (2, N, G).
template <typename T>
Tensor moments_of(const Tensor& x, const Sizes& z, double eps) {
  Tensor found = at::empty({2, z.n, z.groups}, x.options());
  const T* from = x.data_ptr<T>();
  T *mean = found.data_ptr<T>(), *inverse = mean + z.n * z.groups;
  z.each([&](int64_t i, int64_t k) {
    const int64_t at = i * z.groups + k;
    T var;
    row_moments(from + at * z.values(), z.values(), mean[at], var);
    inverse[at] = 1 / std::sqrt(var + static_cast<T>(eps));
  });
  return found;
}

template <typename T>
Tensor output(const Tensor& x, const Tensor& s, const Tensor& moments, const Tensor& weight,
              const Tensor& bias, const Sizes& z) {
  Tensor y = at::empty_like(x);
  const Tensor add = bias.defined() ? bias.contiguous() : at::zeros_like(weight);
  const T *xs = x.data_ptr<T>(), *ss = s.data_ptr<T>();
  const T *w = weight.data_ptr<T>(), *b = add.data_ptr<T>();
  const T* inverse = moments.data_ptr<T>() + z.n * z.groups;
  T* to = y.data_ptr<T>();
  z.each([&](int64_t i, int64_t k) {
    const T over = inverse[i * z.groups + k];
    z.each_value(i, k, [=](int64_t j) {
      const T scale = over * w[j], shift = b[j];
      return [=](int64_t p) { to[p] = xs[p] * ss[p] * scale + shift; };
    });
  });
  return y;
}

// The gradients of x and, as doubles, of weight, bias and v, (3, C).
template <typename T>
struct Gradients {
  Tensor x, channels;

  Gradients(const Tensor& g, const Tensor& x, const Tensor& s, const Tensor& v,
            const Tensor& moments, const Tensor& weight, const Sizes& z)
      : x(at::empty_like(x)), channels(at::zeros({3, z.c}, x.options().dtype(at::kDouble))), z_(z),
        g_(g.data_ptr<T>()), x_(x.data_ptr<T>()), s_(s.data_ptr<T>()), v_(v.data_ptr<T>()),
        w_(weight.data_ptr<T>()), along_(z.c), bias_(z.c), swish_(z.c) {
    const T *mean = moments.data_ptr<T>(), *inverse = mean + z.n * z.groups;
    z.each([&](int64_t i, int64_t k) {
      const int64_t at = i * z.groups + k;
      const T slope = of_channels(i, k, inverse[at]);
      of_values(i, k, mean[at], inverse[at], slope);
    });
  }

 private:
  // Returns the factor of x - mean.
  T of_channels(int64_t i, int64_t k, T inverse) {
    const T *g = g_, *x = x_, *s = s_, *w = w_;
    z_.sums(i, k, [=](int64_t p) { return g[p] * x[p] * s[p]; }, along_.data());
    z_.sums(i, k, [=](int64_t p) { return g[p]; }, bias_.data());
    z_.sums(i, k, [=](int64_t p) { return g[p] * x[p] * x[p] * s[p] * (1 - s[p]); },
            swish_.data());
    const T *along = along_.data(), *bias = bias_.data(), *swish = swish_.data();
    double* of_weight = channels.data_ptr<double>();
    double *of_bias = of_weight + z_.c, *of_v = of_bias + z_.c, of_inverse = 0;
    const int64_t first = k * z_.block, last = first + z_.block;
    for (int64_t j = first; j < last; ++j) of_inverse += w[j] * along[j];
    INDEPENDENT
    for (int64_t j = first; j < last; ++j) {
      of_weight[j] += inverse * along[j];
      of_bias[j] += bias[j];
      of_v[j] += w[j] * inverse * swish[j];
    }
    return static_cast<T>(-of_inverse * inverse * inverse * inverse / z_.values());
  }

  void of_values(int64_t i, int64_t k, T mean, T inverse, T slope) {
    const T *g = g_, *x = x_, *s = s_, *v = v_, *w = w_;
    T* to = this->x.template data_ptr<T>();
    z_.each_value(i, k, [=](int64_t j) {
      const T scale = w[j] * inverse, vj = v[j];
      return [=](int64_t p) {
        to[p] = g[p] * scale * s[p] * (1 + vj * x[p] * (1 - s[p])) + slope * (x[p] - mean);
      };
    });
  }

  const Sizes& z_;
  const T *g_, *x_, *s_, *v_, *w_;
  AlignedVector<T> along_, bias_, swish_;  // sums of a sample's channels
};

template <typename T>
Tensor forward_of(AutogradContext* ctx, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  const Tensor& v, const Sizes& z, double eps) {
  const Tensor s = at::mul(x.view({z.n, z.c, z.d}), v.view({1, z.c, 1})).sigmoid_();
  const Tensor moments = moments_of<T>(x, z, eps);
  ctx->save_for_backward({x, weight, bias, v, s, moments});
  return output<T>(x, s, moments, ones_unless(weight, v), bias, z);
}

template <typename T>
variable_list backward_of(const variable_list& saved, const Sizes& z, const Tensor& g) {
  const Tensor &x = saved[0], &weight = saved[1], &bias = saved[2], v = saved[3].contiguous();
  const Gradients<T> found(g, x, saved[4], v, saved[5], ones_unless(weight, v), z);
  const Tensor narrow = found.channels.to(x.options());
  const auto of = [&](const Tensor& given, int64_t k) {
    return given.defined() ? narrow[k] : Tensor();
  };
  return {found.x, of(weight, 0), of(bias, 1), of(v, 2), {}, {}};
}

class Normalize : public torch::autograd::Function<Normalize> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const MaybeTensor& weight,
                        const MaybeTensor& bias, const Tensor& v, int64_t groups, double eps) {
    ctx->saved_data["groups"] = groups;
    const Sizes z(x, groups);
    const Tensor w = weight.value_or(Tensor()), b = bias.value_or(Tensor());
    return x.scalar_type() == at::kDouble ? forward_of<double>(ctx, x, w, b, v, z, eps)
                                          : forward_of<float>(ctx, x, w, b, v, z, eps);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Sizes z(saved[0], ctx->saved_data["groups"].toInt());
    const Tensor g = grads[0].to(saved[0].scalar_type()).contiguous();
    return saved[0].scalar_type() == at::kDouble ? backward_of<double>(saved, z, g)
                                                 : backward_of<float>(saved, z, g);
  }
};

Tensor swished(const Tensor& x, const MaybeTensor& weight, const MaybeTensor& bias,
               const Tensor& v, int64_t groups, double eps) {
  return Normalize::apply(x, weight, bias, v, groups, eps);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(normlab_engine, m) {
  m.def(
      "swished(Tensor x, Tensor? weight, Tensor? bias, Tensor v, int groups, float eps) -> Tensor",
      &swished);
}
