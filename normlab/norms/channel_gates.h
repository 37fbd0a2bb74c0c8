// Gates that merge each channel with a partner: see meta.py. The order of gates does not matter, so
// channels are sorted: the bits of open gates first, then those of closed ones. What open gates
// merge are then values at a fixed distance, and merging is adding halves. Values have the type of
// the data, sums of gates are double.
//
// The gradients are those of the union of B = 2^open channels with the mean f: with s the sign of an
// open gate's bit, it is -(2 / B) (<s, m> <s, x - f> + <s, v> <s, var + (x - f)^2>) for gradients m
// of the mean and v of the variance, summed over unions.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "fused_rows.h"
#include "pooled_unions.h"

namespace normlab {

// The channels of one sample. A gate is open or closed; if one is not finite, all moments are NaN.
template <typename T>
class GatedChannels {
 public:
  GatedChannels(const Values& gates, int64_t channels)
      : c_(channels), unions_(channels), gates_(gates), mean_(c_), var_(c_), of_mean_(c_),
        of_var_(c_), centred_(c_), spread_(c_) {
    for (const double gate : gates_) {
      unions_ >>= gate > 0;
      finite_ = finite_ && std::isfinite(gate);
    }
    lanes_ = std::min(c_, std::max(unions_, kLanes));
    merged_.resize(lanes_);
    for (AlignedVector<T>& sums : apart_) sums.resize(lanes_);
    sort();
  }

  // Merge the moments of all channels, and write those of each channel's union.
  void merge(const T* mean, const T* var, double* to_mean, double* to_var) {
    read(mean, mean_);
    if (!finite_) std::fill(mean_.begin(), mean_.end(), std::numeric_limits<T>::quiet_NaN());
    read(var, var_);
    copy(mean_, spread_);
    average(spread_.data(), merged_.data());
    centre();
    write(merged_.data(), to_mean);
    average(spread_.data(), apart_[0].data());
    write(apart_[0].data(), to_var);
  }

  // Replace the gradients of the moments of unions, of the sample that was merged last, by those of
  // the moments of its channels, and add those of the gates.
  void back(double* of_mean, double* of_var, Values& of_gates) {
    read(of_mean, of_mean_);
    read(of_var, of_var_);
    centre();
    double share = -2.0 * unions_ / c_;
    int64_t half = c_;
    for (size_t k = 0; k < gates_.size(); ++k) {
      if (!(gates_[k] > 0)) continue;
      half /= 2;
      // d share / d g is (1 - share)^2, and a straight-through gate moves g by half
      of_gates[k] += 0.125 * share * fold(half);
      share *= 4;  // each fold has halved both factors
    }
    spread_back();
    write_all(of_mean_, of_mean);
    write_all(of_var_, of_var);
    for (size_t k = 0; k < gates_.size(); ++k)
      if (!(gates_[k] > 0)) of_gates[k] += 0.5 * of_closed(step_[k]);
  }

 private:
  // Computes the channel at each sorted place and its inverse, if the order differs, and the
  // distance of partners.
  void sort() {
    step_.resize(gates_.size());
    std::vector<int64_t> bits;  // of the channels, for each bit of places from the highest on
    for (const bool open : {true, false})
      for (size_t k = 0; k < gates_.size(); ++k) {
        if ((gates_[k] > 0) != open) continue;
        bits.push_back(c_ >> (k + 1));
        step_[k] = c_ >> bits.size();
      }
    if (std::is_sorted(bits.rbegin(), bits.rend())) return;
    channel_.assign(c_, 0);
    for (int64_t j = 0; j < c_; ++j)
      for (size_t b = 0; b < bits.size(); ++b)
        if (j & (c_ >> (b + 1))) channel_[j] += bits[b];
    place_.resize(c_);
    for (int64_t j = 0; j < c_; ++j) place_[channel_[j]] = j;
  }

  template <typename From>
  void read(const From* from, AlignedVector<T>& to) const {
    if (from == nullptr) return std::fill(to.begin(), to.end(), T(0));  // of rows of one value
    T* values = to.data();
    if (channel_.empty()) {
      INDEPENDENT
      for (int64_t j = 0; j < c_; ++j) values[j] = static_cast<T>(from[j]);
      return;
    }
    const int32_t* channel = channel_.data();
    INDEPENDENT
    for (int64_t j = 0; j < c_; ++j) values[j] = static_cast<T>(from[channel[j]]);
  }

  static void copy(const AlignedVector<T>& from, AlignedVector<T>& to) {
    std::copy(from.begin(), from.end(), to.begin());
  }

  // Calls take(j, k) for each place j and its lane k. Places of one lane have the same union.
  template <typename Take>
  void each(const Take& take) const {
    if (lanes_ == kLanes) {
      for (int64_t start = 0; start < c_; start += kLanes)
        INDEPENDENT
        for (int64_t k = 0; k < kLanes; ++k) take(start + k, k);
      return;
    }
    for (int64_t start = 0; start < c_; start += lanes_)
      INDEPENDENT
      for (int64_t k = 0; k < lanes_; ++k) take(start + k, k);
  }

  void write(const T* of_lanes, double* to) const {
    if (place_.empty()) return each([=](int64_t j, int64_t k) { to[j] = of_lanes[k]; });
    const int32_t *place = place_.data(), last = static_cast<int32_t>(lanes_ - 1);
    INDEPENDENT
    for (int64_t j = 0; j < c_; ++j) to[j] = of_lanes[place[j] & last];
  }

  void write_all(const AlignedVector<T>& from, double* to) const {
    const T* values = from.data();
    if (place_.empty()) return each([=](int64_t j, int64_t) { to[j] = values[j]; });
    const int32_t* place = place_.data();
    INDEPENDENT
    for (int64_t j = 0; j < c_; ++j) to[j] = values[place[j]];
  }

  // Replaces *values* by the means of their unions, and writes them for each lane.
  void average(T* values, T* of_lanes) const {
    for (int64_t half = c_ / 2; half >= unions_; half /= 2) {
      INDEPENDENT
      for (int64_t j = 0; j < half; ++j) values[j] = (values[j] + values[j + half]) * T(0.5);
    }
    repeat(values, of_lanes);
  }

  void repeat(const T* of_unions, T* of_lanes) const {
    std::copy_n(of_unions, unions_, of_lanes);
    for (int64_t size = unions_; size < lanes_; size *= 2)
      std::copy_n(of_lanes, size, of_lanes + size);
  }

  void centre() {
    const T *mean = mean_.data(), *var = var_.data(), *middle = merged_.data();
    T *centred = centred_.data(), *spread = spread_.data();
    each([=](int64_t j, int64_t k) {
      const T off = mean[j] - middle[k];
      centred[j] = off;
      spread[j] = var[j] + off * off;
    });
  }

  // Replaces halves by their means, and returns the sum over unions of the products of the
  // differences that a gate's gradient needs.
  double fold(int64_t half) {
    const int64_t width = std::max(unions_, std::min(half, kLanes));
    fold_lanes(half, width);
    double total = 0;
    for (int64_t u = 0; u < unions_; ++u) {
      double sums[4] = {};
      for (int64_t k = u; k < width; k += unions_)
        for (int a = 0; a < 4; ++a) sums[a] += apart_[a][k];
      total += sums[0] * sums[1] + sums[2] * sums[3];
    }
    return total;
  }

  void fold_lanes(int64_t half, int64_t width) {
    T *m = of_mean_.data(), *x = centred_.data(), *v = of_var_.data(), *y = spread_.data();
    T *dm = apart_[0].data(), *dx = apart_[1].data(), *dv = apart_[2].data(), *dy = apart_[3].data();
    for (AlignedVector<T>& sums : apart_) std::fill_n(sums.begin(), width, T(0));
    const auto take = [half](T* values, T& apart, int64_t j) {
      const T low = values[j], high = values[j + half];
      values[j] = (low + high) * T(0.5);
      apart += low - high;
    };
    for (int64_t start = 0; start < half; start += width)
      INDEPENDENT
      for (int64_t k = 0; k < width; ++k) {
        take(m, dm[k], start + k);
        take(x, dx[k], start + k);
        take(v, dv[k], start + k);
        take(y, dy[k], start + k);
      }
  }

  // Computes the gradients of channels from the mean gradients of their unions.
  void spread_back() {
    T *of_mean = apart_[0].data(), *of_var = apart_[1].data();
    repeat(of_mean_.data(), of_mean);
    repeat(of_var_.data(), of_var);
    const T *mean = mean_.data(), *middle = merged_.data();
    T *m = of_mean_.data(), *v = of_var_.data();
    each([=](int64_t j, int64_t k) {
      m[j] = of_mean[k] + 2 * (mean[j] - middle[k]) * of_var[k];
      v[j] = of_var[k];
    });
  }

  // The gradient of the share of the partner, 0, from the gradients of channels.
  double of_closed(int64_t step) {
    exchange(mean_, step, centred_.data());
    exchange(var_, step, spread_.data());
    const T *mean = mean_.data(), *var = var_.data();
    const T *mean2 = centred_.data(), *var2 = spread_.data();
    const T *m = of_mean_.data(), *v = of_var_.data();
    return sum<T>(c_, [=](int64_t j) {
      const T apart = mean2[j] - mean[j];
      return m[j] * apart + v[j] * (var2[j] - var[j] + apart * apart);
    });
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

  int64_t c_, unions_, lanes_;
  bool finite_ = true;  // all gates are
  Values gates_;
  std::vector<int64_t> step_;     // the distance of partners, for each gate
  std::vector<int32_t> channel_;  // at each place; empty: they are the same
  std::vector<int32_t> place_;    // of each channel
  AlignedVector<T> mean_, var_, of_mean_, of_var_;  // of the sample, in sorted places
  AlignedVector<T> centred_, spread_;               // x - f, and var + (x - f)^2, or scratch
  AlignedVector<T> merged_, apart_[4];              // of unions, for each lane
};

}  // namespace normlab
