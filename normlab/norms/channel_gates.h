// Gates that merge each channel with a partner, one gate after another: see meta.py. A sample's
// channels are the lanes of vectors. The values of partners are copied beside them first, so that
// every distance between partners is equally fast. Values have the type of the data, sums double.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "fused_rows.h"
#include "pooled_unions.h"

namespace normlab {

// Moments of one sample's channels, or their gradients.
template <typename T>
struct ChannelMoments {
  AlignedVector<T> mean, var;

  explicit ChannelMoments(int64_t channels) : mean(channels), var(channels) {}

  template <typename U>
  void read(const U* of_mean, const U* of_var) {
    copy(of_mean, mean.size(), mean.data());
    copy(of_var, var.size(), var.data());
  }

  void write(double* to_mean, double* to_var) const {
    copy(mean.data(), mean.size(), to_mean);
    copy(var.data(), var.size(), to_var);
  }

 private:
  template <typename From, typename To>
  static void copy(const From* from, int64_t count, To* to) {
    if (from == nullptr) {  // rows of one value have no variance
      std::fill(to, to + count, To(0));
      return;
    }
    INDEPENDENT
    for (int64_t j = 0; j < count; ++j) to[j] = static_cast<To>(from[j]);
  }
};

// The turns of a sample. A gate is open or closed. Values that a closed gate does not change are
// stored once.
template <typename T>
class Turns {
 public:
  Turns(const Values& gates, int64_t channels)
      : c_(channels), gates_(gates), other_(channels), grad_(channels), other_grad_(channels) {
    levels_.emplace_back(c_);
    for (size_t k = 0; k < gates_.size(); ++k) {
      at_.push_back(levels_.size() - 1);
      if (open(k)) levels_.emplace_back(c_);
    }
  }

  // Take the moments of all channels through the turns, and write those after the last.
  void merge(const T* mean, const T* var, double* to_mean, double* to_var) {
    levels_[0].read(mean, var);
    for (size_t k = 0; k < gates_.size(); ++k)
      if (open(k)) turn(levels_[at_[k]], step(k), levels_[at_[k] + 1]);
    levels_.back().write(to_mean, to_var);
  }

  // Replace the gradients after the turns of the sample that was merged last by those before, and
  // add those of the gates.
  void back(double* of_mean, double* of_var, Values& of_gates) {
    grad_.read(of_mean, of_var);
    for (size_t k = gates_.size(); k-- > 0;) {
      const ChannelMoments<T>& own = levels_[at_[k]];
      partners(own, step(k), other_);
      // d share / d g is (1 - share)^2, and a straight-through gate moves g by half
      of_gates[k] += open(k) ? 0.125 * of_open(own) : 0.5 * of_closed(own);
      if (open(k)) turn_back(own, step(k));
    }
    grad_.write(of_mean, of_var);
  }

 private:
  bool open(size_t k) const { return gates_[k] > 0; }
  int64_t step(size_t k) const { return c_ >> (k + 1); }

  static void partners(const ChannelMoments<T>& own, int64_t step, ChannelMoments<T>& to) {
    exchange(own.mean, step, to.mean.data());
    exchange(own.var, step, to.var.data());
  }

  static void exchange(const AlignedVector<T>& own, int64_t step, T* to) {
    const int64_t c = own.size();
    switch (step) {  // steps that a compiler knows become moves inside of vectors
      case 1: return exchange_by<1>(own.data(), c, to);
      case 2: return exchange_by<2>(own.data(), c, to);
      case 4: return exchange_by<4>(own.data(), c, to);
      case 8: return exchange_by<8>(own.data(), c, to);
    }
    for (int64_t i = 0; i < c; i += 2 * step) {
      std::copy_n(&own[i + step], step, to + i);
      std::copy_n(&own[i], step, to + i + step);
    }
  }

  template <int64_t kStep>
  static void exchange_by(const T* __restrict own, int64_t c, T* __restrict to) {
    for (int64_t i = 0; i < c; i += 2 * kStep) {
      T pair[2 * kStep];
      for (int64_t j = 0; j < 2 * kStep; ++j) pair[j] = own[i + (j ^ kStep)];
      for (int64_t j = 0; j < 2 * kStep; ++j) to[i + j] = pair[j];
    }
  }

  // The share of the partner is 1/2.
  void turn(const ChannelMoments<T>& own, int64_t step, ChannelMoments<T>& out) {
    partners(own, step, other_);
    const T *mean = own.mean.data(), *var = own.var.data();
    const T *mean2 = other_.mean.data(), *var2 = other_.var.data();
    T *to_mean = out.mean.data(), *to_var = out.var.data();
    INDEPENDENT
    for (int64_t j = 0; j < c_; ++j) {
      const T half = (mean2[j] - mean[j]) * T(0.5);
      to_mean[j] = (mean[j] + mean2[j]) * T(0.5);
      to_var[j] = (var[j] + var2[j]) * T(0.5) + half * half;
    }
  }

  void turn_back(const ChannelMoments<T>& own, int64_t step) {
    partners(grad_, step, other_grad_);
    const T *mean = own.mean.data(), *mean2 = other_.mean.data();
    const T *m2 = other_grad_.mean.data(), *v2 = other_grad_.var.data();
    T *m = grad_.mean.data(), *v = grad_.var.data();
    INDEPENDENT
    for (int64_t j = 0; j < c_; ++j) {
      const T both = (v[j] + v2[j]) * T(0.5);
      m[j] = (m[j] + m2[j]) * T(0.5) - (mean2[j] - mean[j]) * both;
      v[j] = both;
    }
  }

  // The gradients of the share of the partner, 1/2 or 0.
  double of_open(const ChannelMoments<T>& own) const {
    const T *mean = own.mean.data(), *var = own.var.data();
    const T *mean2 = other_.mean.data(), *var2 = other_.var.data();
    const T *m = grad_.mean.data(), *v = grad_.var.data();
    return sum<T>(c_, [=](int64_t j) {
      return m[j] * (mean2[j] - mean[j]) + v[j] * (var2[j] - var[j]);
    });
  }

  double of_closed(const ChannelMoments<T>& own) const {
    const T *mean = own.mean.data(), *var = own.var.data();
    const T *mean2 = other_.mean.data(), *var2 = other_.var.data();
    const T *m = grad_.mean.data(), *v = grad_.var.data();
    return sum<T>(c_, [=](int64_t j) {
      const T apart = mean2[j] - mean[j];
      return m[j] * apart + v[j] * (var2[j] - var[j] + apart * apart);
    });
  }

  int64_t c_;
  Values gates_;
  std::vector<ChannelMoments<T>> levels_;          // before the first turn and after each open gate
  std::vector<size_t> at_;                         // the level before each turn
  ChannelMoments<T> other_, grad_, other_grad_;    // the moments of partners, and the current gradients
};

}  // namespace normlab
